/* Fails calls on the files below one folder, for tests: loaded before the C library by LD_PRELOAD.
 *
 * PUNA_FAULT_FOLDER  the folder
 * PUNA_FAULT_KIND    write-eio, write-enospc, write-torn (half is written, then there is no space), write-short (half is
 * PUNA_FAULT_FIRST   the first call of the kind that fails, from 0
 * PUNA_FAULT_COUNT   how many fail, one after the other
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long calls;

static int below_folder(int fd) {
    const char *folder = getenv("PUNA_FAULT_FOLDER");
    char link[64], path[PATH_MAX];
    if (folder == NULL) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strncmp(path, folder, strlen(folder)) == 0;
}

/* Which fault of a family ("write", "sync", "read") this call has; none for none. */
static const char *fault(int fd, const char *family) {
    int saved = errno;
    const char *kind = getenv("PUNA_FAULT_KIND"), *result = NULL;
    size_t length = strlen(family);
    if (kind != NULL && strncmp(kind, family, length) == 0 && kind[length] == '-' && below_folder(fd)) {
        long first = atol(getenv("PUNA_FAULT_FIRST")), count = atol(getenv("PUNA_FAULT_COUNT"));
        long call = atomic_fetch_add(&calls, 1);
        if (call >= first && call < first + count) result = kind + length + 1;
    }
    errno = saved;
    return result;
}

static void *next(const char *name) {
    void *function = dlsym(RTLD_NEXT, name);
    if (function == NULL) abort();
    return function;
}

typedef ssize_t (*write_function)(int, const void *, size_t);
typedef ssize_t (*pwrite_function)(int, const void *, size_t, off64_t);

/* How many of `size` bytes are to be written; -1 with errno for a failure. */
static ssize_t allowed(const char *fault, size_t size) {
    if (fault == NULL) return (ssize_t)size;
    if (strcmp(fault, "short") == 0) return size > 1 ? (ssize_t)(size / 2) : (ssize_t)size;
    errno = strcmp(fault, "eio") == 0 ? EIO : ENOSPC;
    return -1;
}

ssize_t write(int fd, const void *bytes, size_t size) {
    write_function real = (write_function)next("write");
    const char *what = fault(fd, "write");
    if (what != NULL && strcmp(what, "torn") == 0) {
        if (real(fd, bytes, size / 2) < 0) return -1;
        errno = ENOSPC;
        return -1;
    }
    ssize_t take = allowed(what, size);
    return take < 0 ? take : real(fd, bytes, (size_t)take);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) {
    pwrite_function real = (pwrite_function)next("pwrite64");
    const char *what = fault(fd, "write");
    if (what != NULL && strcmp(what, "torn") == 0) {
        if (real(fd, bytes, size / 2, at) < 0) return -1;
        errno = ENOSPC;
        return -1;
    }
    ssize_t take = allowed(what, size);
    return take < 0 ? take : real(fd, bytes, (size_t)take, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) {
    return pwrite64(fd, bytes, size, at);
}

static int failed_sync(int fd) {
    if (fault(fd, "sync") == NULL) return 0;
    errno = EIO;
    return 1;
}

int fsync(int fd) {
    return failed_sync(fd) ? -1 : ((int (*)(int))next("fsync"))(fd);
}

int fdatasync(int fd) {
    return failed_sync(fd) ? -1 : ((int (*)(int))next("fdatasync"))(fd);
}

int sync_file_range(int fd, off64_t from, off64_t count, unsigned int flags) {
    if (failed_sync(fd)) return -1;
    return ((int (*)(int, off64_t, off64_t, unsigned int))next("sync_file_range"))(fd, from, count, flags);
}

static atomic_long spot_calls;

/* Whether a read of these bytes fails. */
static int failed_read(int fd, size_t size, off64_t at) {
    const char *kind = getenv("PUNA_FAULT_KIND");
    if (fault(fd, "read") != NULL) return 1;
    if (kind == NULL || strcmp(kind, "spot-eio") != 0 || !below_folder(fd)) return 0;
    off64_t spot = atol(getenv("PUNA_FAULT_FIRST"));
    if (spot < at || spot >= at + (off64_t)size) return 0;
    return atomic_fetch_add(&spot_calls, 1) < atol(getenv("PUNA_FAULT_COUNT"));
}

ssize_t read(int fd, void *bytes, size_t size) {
    if (failed_read(fd, size, lseek(fd, 0, SEEK_CUR))) {
        errno = EIO;
        return -1;
    }
    return ((ssize_t (*)(int, void *, size_t))next("read"))(fd, bytes, size);
}

ssize_t pread64(int fd, void *bytes, size_t size, off64_t at) {
    if (failed_read(fd, size, at)) {
        errno = EIO;
        return -1;
    }
    return ((ssize_t (*)(int, void *, size_t, off64_t))next("pread64"))(fd, bytes, size, at);
}

ssize_t pread(int fd, void *bytes, size_t size, off_t at) {
    return pread64(fd, bytes, size, at);
}
