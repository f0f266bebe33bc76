/** `node readers.ts URL N`: N readers of the events, and nothing done with what they are told. */
import { get } from 'node:http'

const [url = '', count] = process.argv.slice(2)
let connected = 0
for (let n = 0; n < Number(count); n++) {
  get(`${url}/events`, (response) => {
    response.resume()
    connected++
    if (connected === Number(count)) process.stdout.write('listening\n')
  })
}
