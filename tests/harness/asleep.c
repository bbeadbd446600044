/* A machine that was asleep, for one process: loaded before the C library (LD_PRELOAD), it adds to what the clocks
   say the milliseconds in the file that $ASLEEP names: two integers of 64 bits, the first for CLOCK_BOOTTIME,
   the second for the wall clock. CLOCK_MONOTONIC stands still while a machine sleeps, and is left alone. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *asleep;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("ASLEEP");
    int file = name == NULL ? -1 : open(name, O_RDONLY);
    void *map = file < 0 ? MAP_FAILED : mmap(NULL, 16, PROT_READ, MAP_SHARED, file, 0);
    asleep = map == MAP_FAILED ? NULL : map;
    if (file >= 0)
        close(file);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int done = (int)syscall(SYS_clock_gettime, clock, time);
    int64_t ms = 0;
    if (done != 0 || asleep == NULL)
        return done;
    if (clock == CLOCK_BOOTTIME || clock == CLOCK_BOOTTIME_ALARM)
        ms = asleep[0];
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        ms = asleep[1];
    time->tv_sec += ms / 1000;
    time->tv_nsec += ms % 1000 * 1000000;
    if (time->tv_nsec >= 1000000000) {
        time->tv_nsec -= 1000000000;
        time->tv_sec++;
    }
    if (time->tv_nsec < 0) {
        time->tv_nsec += 1000000000;
        time->tv_sec--;
    }
    return 0;
}
