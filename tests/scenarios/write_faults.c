/* Strikes at the n-th system call that writes below one folder, or writes all of them down.
 *
 * Loaded with LD_PRELOAD by tests/scenarios/ledger_matrix.py, which tells it by faults_arm() what to do. It sees what
 * goes through the C library, which is all that Python and SQLite do to files, except stores into mapped memory: that
 * is the index of SQLite's write-ahead log, which SQLite makes anew after a crash.
 *
 * Kinds of call: w write, s sync of a file, d sync of a folder, t truncate, c open that may create, o open for writing,
 * u unlink, r rename, l link, m mkdir, p permissions. Research use only - not a medical device.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OFF, COUNT, KILL_BEFORE, KILL_AFTER, TORN, FULL, SHORT, READONLY, DENIED, FAIL_ONCE };

static char folder[PATH_MAX];
static char kinds[8192];
static int mode = OFF, log_fd = -1;
static long strike_at, seen, struck;

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

void faults_arm(const char *below, int what, long at, int log) {
    snprintf(folder, sizeof folder, "%s/", below);
    strike_at = at, seen = 0, struck = 0, log_fd = log, mode = what;
    memset(kinds, 0, sizeof kinds);
}

void faults_disarm(void) { mode = OFF; }
long faults_struck(void) { return struck; }
const char *faults_kinds(void) { return kinds; }

static int below(const char *path) { return mode != OFF && strncmp(path, folder, strlen(folder)) == 0; }

static int name_of(int fd, char *name) {
    char link[64];
    int saved = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, PATH_MAX - 1);
    name[length > 0 ? length : 0] = 0;
    errno = saved;
    return length > 0;
}

static int ours(int fd) {
    char name[PATH_MAX];
    if (mode == OFF || fd == log_fd || !name_of(fd, name)) return 0;
    size_t length = strlen(folder) - 1; /* the folder itself may be synced */
    return below(name) || (strncmp(name, folder, length) == 0 && name[length] == 0);
}

static void record(char kind, unsigned long inode, long offset, const char *from, const char *to, const void *data,
                   size_t size) {
    char line[2 * PATH_MAX + 128];
    if (log_fd < 0) return;
    int saved = errno;
    int length = snprintf(line, sizeof line, "%c %lu %ld %zu %s %s\n", kind, inode, offset, size, from, to);
    if (syscall(SYS_write, log_fd, line, length) != length || syscall(SYS_write, log_fd, data, size) != (long)size)
        kill(getpid(), SIGKILL);
    errno = saved;
}

void faults_note(void) { record('x', 0, 0, "-", "-", "", 0); }

static unsigned long inode_of(int fd, struct stat *into) { return fstat(fd, into) ? 0 : into->st_ino; }

/* Returns 0 to go on, an errno to fail with, or -1 to write half only. */
static int strike(char kind) {
    if (seen + 1 < (long)sizeof kinds) kinds[seen] = kind;
    seen++;
    int now = seen == strike_at, since = strike_at > 0 && seen >= strike_at;
    int grows = strchr("wcmlt", kind) != NULL;
    int result = 0;
    switch (mode) {
    case KILL_BEFORE: if (now) kill(getpid(), SIGKILL); break;
    case TORN: if (now && kind == 'w') result = -1; break;
    case SHORT: if (now && kind == 'w') { result = -1; break; } /* fall through */
    case FULL: if (since && grows) result = ENOSPC; break;
    case READONLY: if (since) result = EROFS; break;
    case DENIED: if (since && strchr("courlmp", kind)) result = EACCES; break;
    case FAIL_ONCE: if (now) result = EIO; break;
    }
    if (result) struck++;
    return result;
}

static void done(void) {
    if (mode == KILL_AFTER && seen == strike_at) kill(getpid(), SIGKILL);
}

#define FAIL(result) do { errno = (result); return -1; } while (0)

static ssize_t put(int fd, const void *data, size_t size, off_t offset, int positioned) {
    int result = strike('w');
    if (result > 0) FAIL(result);
    struct stat status;
    unsigned long inode = inode_of(fd, &status);
    if (!positioned) offset = fcntl(fd, F_GETFL) & O_APPEND ? status.st_size : lseek(fd, 0, SEEK_CUR);
    size_t wanted = result < 0 ? size / 2 : size;
    ssize_t written = positioned ? syscall(SYS_pwrite64, fd, data, wanted, offset) : syscall(SYS_write, fd, data, wanted);
    if (mode == TORN && result < 0) kill(getpid(), SIGKILL);
    if (written > 0) record('w', inode, offset, "-", "-", data, written);
    done();
    return written;
}

ssize_t write(int fd, const void *data, size_t size) {
    return ours(fd) ? put(fd, data, size, 0, 0) : syscall(SYS_write, fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    return ours(fd) ? put(fd, data, size, offset, 1) : syscall(SYS_pwrite64, fd, data, size, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) { return pwrite(fd, data, size, offset); }

/* Nobody writes vectors or copies in the kernel here; if that changes the count would be wrong, so it must be loud. */
#define FORBID(type, name, fd, ...)                                                                                    \
    type name(__VA_ARGS__) {                                                                                           \
        if (ours(fd)) { fputs("write_faults: " #name " is not modelled\n", stderr); kill(getpid(), SIGABRT); }

FORBID(ssize_t, writev, fd, int fd, const struct iovec *parts, int count)
    return REAL(ssize_t, writev, int, const struct iovec *, int)(fd, parts, count); }
FORBID(ssize_t, pwritev, fd, int fd, const struct iovec *parts, int count, off_t offset)
    return REAL(ssize_t, pwritev, int, const struct iovec *, int, off_t)(fd, parts, count, offset); }
FORBID(int, fallocate, fd, int fd, int how, off_t offset, off_t size)
    return REAL(int, fallocate, int, int, off_t, off_t)(fd, how, offset, size); }
FORBID(int, posix_fallocate, fd, int fd, off_t offset, off_t size)
    return REAL(int, posix_fallocate, int, off_t, off_t)(fd, offset, size); }
FORBID(ssize_t, copy_file_range, out, int in, off64_t *from, int out, off64_t *to, size_t size, unsigned int flags)
    return REAL(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned int)(in, from, out, to, size,
                                                                                               flags); }
FORBID(ssize_t, sendfile, out, int out, int in, off_t *offset, size_t size)
    return REAL(ssize_t, sendfile, int, int, off_t *, size_t)(out, in, offset, size); }

static int sync_it(int fd, long number) {
    if (!ours(fd)) return syscall(number, fd);
    struct stat status;
    char name[PATH_MAX];
    unsigned long inode = inode_of(fd, &status);
    name_of(fd, name);
    int result = strike(S_ISDIR(status.st_mode) ? 'd' : 's');
    if (result > 0 && !S_ISDIR(status.st_mode)) record('f', inode, 0, "-", "-", "", 0);
    if (result > 0) FAIL(result);
    int answer = syscall(number, fd);
    if (S_ISDIR(status.st_mode)) record('d', inode, 0, name, "-", "", 0);
    else record('s', inode, 0, "-", "-", "", 0);
    done();
    return answer;
}

int fsync(int fd) { return sync_it(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_it(fd, SYS_fdatasync); }

int ftruncate(int fd, off_t size) {
    if (!ours(fd)) return syscall(SYS_ftruncate, fd, size);
    int result = strike('t');
    if (result > 0) FAIL(result);
    struct stat status;
    int answer = syscall(SYS_ftruncate, fd, size);
    if (!answer) record('t', inode_of(fd, &status), size, "-", "-", "", 0);
    done();
    return answer;
}

int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }

static int open_it(int at, const char *path, int flags, mode_t permissions) {
    int writes = (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC);
    if (!below(path) || !writes) return syscall(SYS_openat, at, path, flags, permissions);
    struct stat status;
    int saved = errno;
    int was_there = stat(path, &status) == 0;
    errno = saved;
    int result = strike(flags & O_CREAT && !was_there ? 'c' : 'o');
    if (result > 0) FAIL(result);
    int fd = syscall(SYS_openat, at, path, flags, permissions);
    if (fd >= 0) {
        unsigned long inode = inode_of(fd, &status);
        if (!was_there) record('c', inode, 0, path, "-", "", 0);
        else if (flags & O_TRUNC) record('t', inode, 0, "-", "-", "", 0);
        done();
    }
    return fd;
}

#define PERMISSIONS(flags)                                                                                             \
    mode_t permissions = 0;                                                                                            \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                                                                           \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        permissions = va_arg(rest, mode_t);                                                                            \
        va_end(rest);                                                                                                  \
    }

int open(const char *path, int flags, ...) { PERMISSIONS(flags) return open_it(AT_FDCWD, path, flags, permissions); }
int open64(const char *path, int flags, ...) { PERMISSIONS(flags) return open_it(AT_FDCWD, path, flags, permissions); }
int openat(int at, const char *path, int flags, ...) { PERMISSIONS(flags) return open_it(at, path, flags, permissions); }
int openat64(int at, const char *path, int flags, ...) { PERMISSIONS(flags) return open_it(at, path, flags, permissions); }

#define NAMED(kind, path, other, call)                                                                                 \
    int result = below(path) ? strike(kind) : 0;                                                                       \
    if (result > 0) FAIL(result);                                                                                      \
    int answer = call;                                                                                                 \
    if (below(path)) {                                                                                                 \
        if (!answer) record(kind, 0, 0, path, other, "", 0);                                                           \
        done();                                                                                                        \
    }                                                                                                                  \
    return answer;

int unlink(const char *path) { NAMED('u', path, "-", syscall(SYS_unlinkat, AT_FDCWD, path, 0)) }
int unlinkat(int at, const char *path, int flags) { NAMED('u', path, "-", syscall(SYS_unlinkat, at, path, flags)) }
int rename(const char *from, const char *to) { NAMED('r', from, to, syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0)) }
int renameat(int a, const char *from, int b, const char *to) { NAMED('r', from, to, syscall(SYS_renameat2, a, from, b, to, 0)) }
int link(const char *from, const char *to) { NAMED('l', from, to, syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0)) }
int linkat(int a, const char *from, int b, const char *to, int flags) { NAMED('l', from, to, syscall(SYS_linkat, a, from, b, to, flags)) }
int mkdir(const char *path, mode_t permissions) { NAMED('m', path, "-", syscall(SYS_mkdirat, AT_FDCWD, path, permissions)) }
int mkdirat(int at, const char *path, mode_t permissions) { NAMED('m', path, "-", syscall(SYS_mkdirat, at, path, permissions)) }

int fchmod(int fd, mode_t permissions) {
    if (!ours(fd)) return syscall(SYS_fchmod, fd, permissions);
    int result = strike('p');
    if (result > 0) FAIL(result);
    int answer = syscall(SYS_fchmod, fd, permissions);
    done();
    return answer;
}
