#pragma once
// POSIX.1-2017, <sys/time.h>; newlib of ESP-IDF has it, a bare compiler does not.
extern "C" {
struct timeval {
  long long tv_sec;
  long tv_usec;
};
int gettimeofday(struct timeval* tv, void* tz);
}
