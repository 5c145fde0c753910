// What a C library may want of WASI: a plugin has none of it. The linker takes these in the place of the imports, so that
// a component imports nothing but the contract.

#include <stdint.h>

// The library's numbers for what is not there.
enum { BAD_FILE = 8, NOT_SUPPORTED = 52 };

#define ABSENT(name, answer, ...)                                                                    \
    int32_t __imported_wasi_snapshot_preview1_##name(__VA_ARGS__);                                   \
    int32_t __imported_wasi_snapshot_preview1_##name(__VA_ARGS__) { return answer; }

#pragma clang diagnostic ignored "-Wunused-parameter"

// No streams, no files, none that was opened before.
ABSENT(fd_close, BAD_FILE, int32_t file)
ABSENT(fd_fdstat_get, BAD_FILE, int32_t file, int32_t stat)
ABSENT(fd_fdstat_set_flags, BAD_FILE, int32_t file, int32_t flags)
ABSENT(fd_prestat_dir_name, BAD_FILE, int32_t file, int32_t path, int32_t length)
ABSENT(fd_prestat_get, BAD_FILE, int32_t file, int32_t stat)
ABSENT(fd_read, BAD_FILE, int32_t file, int32_t parts, int32_t count, int32_t read)
ABSENT(fd_seek, BAD_FILE, int32_t file, int64_t offset, int32_t whence, int32_t position)
ABSENT(fd_write, BAD_FILE, int32_t file, int32_t parts, int32_t count, int32_t written)
// The contract has a clock and randomness of its own, with a grant.
ABSENT(clock_time_get, NOT_SUPPORTED, int32_t clock, int64_t precision, int32_t time)
ABSENT(random_get, NOT_SUPPORTED, int32_t bytes, int32_t length)
ABSENT(environ_get, NOT_SUPPORTED, int32_t environment, int32_t bytes)
ABSENT(environ_sizes_get, NOT_SUPPORTED, int32_t count, int32_t size)

_Noreturn void __imported_wasi_snapshot_preview1_proc_exit(int32_t code);
_Noreturn void __imported_wasi_snapshot_preview1_proc_exit(int32_t code) { __builtin_trap(); }
