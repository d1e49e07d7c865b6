/* A wrong clock for the processes of one site: the time of day is ahead by the seconds in the file beside this library.
 *
 * Loaded with LD_PRELOAD by sitecustomize.py. The file holds one 64-bit number and is mapped, so a change of it counts
 * at once in every process, as when somebody sets the clock of a machine. Waiting goes by the monotonic clock, which is
 * left alone. Research use only - not a medical device.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t none = 0, *ahead = &none;

__attribute__((constructor)) static void map_offset(void) {
    char path[PATH_MAX];
    Dl_info here;
    if (!dladdr((void *)map_offset, &here)) return;
    snprintf(path, sizeof path, "%s", here.dli_fname);
    char *slash = strrchr(path, '/');
    if (!slash || slash + sizeof "/offset" > path + sizeof path) return;
    strcpy(slash, "/offset");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    void *mapped = mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, fd, 0);
    if (mapped != MAP_FAILED) ahead = mapped;
    close(fd);
}

int clock_gettime(clockid_t id, struct timespec *into) {
    int result = (int)syscall(SYS_clock_gettime, id, into);
    if (!result && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) into->tv_sec += *ahead;
    return result;
}

time_t time(time_t *into) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (into) *into = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict into, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    into->tv_sec = now.tv_sec, into->tv_usec = now.tv_nsec / 1000;
    return 0;
}
