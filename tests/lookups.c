/* Preloaded into a process: writes down every name it looks up and every network address it connects to, and lets none
   succeed; also every file that it opens below the folder CANARIES. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void note(const char *kind, const char *text) {
    const char *path = getenv("LOOKUPS");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (file) {
        fprintf(file, "%s %s\n", kind, text ? text : "-");
        fclose(file);
    }
}

static void note_canary(const char *path) {
    const char *folder = getenv("CANARIES");
    char whole[PATH_MAX];
    int before = errno;
    if (folder && path && realpath(path, whole) && !strncmp(whole, folder, strlen(folder))) note("canary", whole);
    errno = before;
}

#define OPEN(name)                                                              \
    int name(const char *path, int flags, ...) {                                \
        va_list rest;                                                           \
        va_start(rest, flags);                                                  \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                           \
        note_canary(path);                                                      \
        return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name))(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                            \
    int name(int folder, const char *path, int flags, ...) {                    \
        va_list rest;                                                           \
        va_start(rest, flags);                                                  \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                           \
        note_canary(path);                                                      \
        return ((int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, #name))(folder, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name)                                                             \
    FILE *name(const char *path, const char *mode) {                            \
        note_canary(path);                                                      \
        return ((FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, #name))(path, mode); \
    }
FOPEN(fopen)
FOPEN(fopen64)

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    note("name", node);
    return EAI_FAIL;
}

static int remote(const struct sockaddr *address) {
    char text[INET6_ADDRSTRLEN] = "";
    if (!address || (address->sa_family != AF_INET && address->sa_family != AF_INET6)) return 0;
    if (address->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, text, sizeof text);
    else
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)address)->sin6_addr, text, sizeof text);
    note("address", text);
    errno = ENETUNREACH;
    return 1;
}

int connect(int socket, const struct sockaddr *address, socklen_t length) {
    if (remote(address)) return -1;
    return ((int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect"))(socket, address, length);
}

ssize_t sendto(int socket, const void *data, size_t size, int flags, const struct sockaddr *address, socklen_t length) {
    if (remote(address)) return -1;
    return ((ssize_t(*)(int, const void *, size_t, int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "sendto"))(
        socket, data, size, flags, address, length);
}
