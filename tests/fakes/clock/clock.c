/*
 * A clock on the wall that a test can set: preloaded, it stands between a program and the system's own, and
 * adds to it the seconds that the file named by MEMTRACK_FAKE_CLOCK holds (8 bytes, this machine's order).
 * The file is mapped, so that a test sets the clock of all processes at once while they run.
 *
 * Steady clocks, and the times of files, stay what they are. (libfaketime does the same and more, but rustc
 * does not start under it.)
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *file;

/* Before main: nobody changes the environment yet. */
__attribute__((constructor)) static void map_file(void) {
    const char *path = getenv("MEMTRACK_FAKE_CLOCK");
    int descriptor = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        return;
    }
    void *map = mmap(NULL, sizeof *file, PROT_READ, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (map != MAP_FAILED) {
        file = map;
    }
}

static time_t off(void) {
    return file == NULL ? 0 : (time_t)*file;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        now->tv_sec += off();
    }
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    int result = (int)syscall(SYS_gettimeofday, now, zone);
    if (result == 0) {
        now->tv_sec += off();
    }
    return result;
}

time_t time(time_t *place) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (place != NULL) {
        *place = now.tv_sec;
    }
    return now.tv_sec;
}
