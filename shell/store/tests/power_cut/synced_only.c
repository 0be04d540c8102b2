/* A disk that forgets at a power cut what was not synced.
 *
 * Preloaded into a program, it copies a file whose path begins with $SYNCED_FROM into the directory $SYNCED_TO whenever the
 * program has synced it, and drops copies of deleted files when the directory itself is synced. At any moment, that
 * directory holds what a power cut would leave in the worst case: exactly what was synced. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static void fail(const char *what) {
    perror(what);
    abort();
}

static void copy(const char *from, const char *name, const char *to) {
    char part[PATH_MAX], whole[PATH_MAX], bytes[65536];
    snprintf(part, sizeof part, "%s/.%s.part", to, name);
    snprintf(whole, sizeof whole, "%s/%s", to, name);
    int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0) return; /* It has been deleted meanwhile. */
    int out = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (out < 0) fail("open");
    for (;;) {
        ssize_t got = read(in, bytes, sizeof bytes);
        if (got < 0) fail("read");
        if (got == 0) break;
        if (write(out, bytes, (size_t)got) != got) fail("write");
    }
    close(in);
    close(out);
    if (rename(part, whole) != 0) fail("rename");
}

/* The names of a directory have been synced: what is gone from it is gone for good. */
static void forget_deleted(const char *directory, const char *to) {
    DIR *kept = opendir(to);
    if (kept == NULL) fail("opendir");
    for (struct dirent *entry; (entry = readdir(kept)) != NULL;) {
        char original[PATH_MAX], shadow[PATH_MAX];
        if (entry->d_name[0] == '.') continue;
        snprintf(original, sizeof original, "%s/%s", directory, entry->d_name);
        snprintf(shadow, sizeof shadow, "%s/%s", to, entry->d_name);
        if (access(original, F_OK) != 0) unlink(shadow);
    }
    closedir(kept);
}

static void was_synced(int fd) {
    const char *from = getenv("SYNCED_FROM"), *to = getenv("SYNCED_TO");
    char link[64], path[PATH_MAX];
    struct stat status;
    if (from == NULL || to == NULL || fstat(fd, &status) != 0) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return;
    path[length] = 0;
    const char *name = strrchr(path, '/');
    pthread_mutex_lock(&one_at_a_time);
    if (S_ISDIR(status.st_mode)) {
        size_t parent = strlen(path);
        if (strncmp(from, path, parent) == 0 && strchr(from + parent + 1, '/') == NULL) forget_deleted(path, to);
    } else if (name != NULL && strncmp(path, from, strlen(from)) == 0) {
        copy(path, name + 1, to);
    }
    pthread_mutex_unlock(&one_at_a_time);
}

int fsync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    int result = real(fd);
    if (result == 0) was_synced(fd);
    return result;
}

int fdatasync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    int result = real(fd);
    if (result == 0) was_synced(fd);
    return result;
}
