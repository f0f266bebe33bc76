/* Preloaded library that lets each fsync and fdatasync take SLOW_FSYNC_MS longer, as a slow disk does. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void wait_first(void) {
  const char *text = getenv("SLOW_FSYNC_MS");
  long ms = text ? atol(text) : 0;
  struct timespec left = {ms / 1000, (ms % 1000) * 1000000L};
  while (ms > 0 && nanosleep(&left, &left) != 0) {
  }
}

int fsync(int fd) {
  wait_first();
  return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd) {
  wait_first();
  return (int)syscall(SYS_fdatasync, fd);
}
