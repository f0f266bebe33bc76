"""Answers one HTTP request, and from then on does as a machine whose link is dead: it takes no bytes and no connections."""
import socket
import time

server = socket.socket()
server.bind(('127.0.0.1', 0))
server.listen(0)
print(server.getsockname()[1], flush=True)
connection, _ = server.accept()
connection.recv(65536)
connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
# The kernel accepts one connection more for this process. It ignores requests for others.
filler = [socket.socket() for _ in range(2)]
for one in filler:
    one.setblocking(False)
    one.connect_ex(server.getsockname())
print('deaf', flush=True)
time.sleep(600)
