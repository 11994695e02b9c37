/* What the stub and the load client share: time, growing buffers, a timer heap, sockets. */

#ifndef ENCLAVE_BENCH_COMMON_H
#define ENCLAVE_BENCH_COMMON_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000LL
#define SECOND 1000000000LL
#define ID_MARK "bench-id:"
#define ID_LENGTH 8

static inline void die(const char *what) {
    perror(what);
    exit(1);
}

/* CLOCK_MONOTONIC is the same for every process of one machine, so that a stamp the stub writes
   can be subtracted from the time at which the client reads it. */
static inline int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * SECOND + t.tv_nsec;
}

struct buffer {
    char *data;
    size_t length, capacity;
};

static inline void buffer_reserve(struct buffer *b, size_t more) {
    if (b->length + more <= b->capacity) return;
    while (b->capacity < b->length + more) b->capacity = b->capacity ? b->capacity * 2 : 4096;
    b->data = realloc(b->data, b->capacity);
    if (!b->data) die("realloc");
}

static inline void buffer_append(struct buffer *b, const char *data, size_t length) {
    buffer_reserve(b, length);
    memcpy(b->data + b->length, data, length);
    b->length += length;
}

static inline void buffer_consume(struct buffer *b, size_t length) {
    if (b->length > length) memmove(b->data, b->data + length, b->length - length);
    b->length -= length;
}

/* A binary heap of timers; a timer knows its slot, so that it can be removed. */
struct timer {
    int64_t at;
    int slot; /* -1: not in the heap */
    void *owner;
};

static struct timer **heap;
static int heap_length, heap_capacity;

static inline void heap_put(int slot, struct timer *t) {
    heap[slot] = t;
    t->slot = slot;
}

static inline void heap_settle(int slot) {
    struct timer *t = heap[slot];
    while (slot > 0 && heap[(slot - 1) / 2]->at > t->at) {
        heap_put(slot, heap[(slot - 1) / 2]);
        slot = (slot - 1) / 2;
    }
    for (;;) {
        int child = 2 * slot + 1;
        if (child >= heap_length) break;
        if (child + 1 < heap_length && heap[child + 1]->at < heap[child]->at) child++;
        if (heap[child]->at >= t->at) break;
        heap_put(slot, heap[child]);
        slot = child;
    }
    heap_put(slot, t);
}

static inline void timer_cancel(struct timer *t) {
    if (t->slot < 0) return;
    int slot = t->slot;
    t->slot = -1;
    heap_length--;
    if (slot == heap_length) return;
    heap_put(slot, heap[heap_length]);
    heap_settle(slot);
}

static inline void timer_start(struct timer *t, int64_t at) {
    timer_cancel(t);
    if (heap_length == heap_capacity) {
        heap_capacity = heap_capacity ? heap_capacity * 2 : 1024;
        heap = realloc(heap, sizeof *heap * heap_capacity);
        if (!heap) die("realloc");
    }
    t->at = at;
    heap_put(heap_length++, t);
    heap_settle(t->slot);
}

/* Arm the timer file descriptor for the earliest timer; epoll_wait itself knows milliseconds only. */
static inline void alarm_rearm(int fd) {
    static int64_t armed = -1;
    int64_t at = heap_length ? heap[0]->at : 0;
    if (at == armed) return;
    struct itimerspec spec = {.it_value = {.tv_sec = at / SECOND, .tv_nsec = at % SECOND}};
    if (timerfd_settime(fd, TFD_TIMER_ABSTIME, &spec, NULL)) die("timerfd_settime");
    armed = at;
}

static inline int open_alarm(int epoll) {
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (fd < 0) die("timerfd_create");
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
    return fd;
}

/* Die with the benchmark, take all file descriptors there are, and survive a closed socket. */
static inline void prepare_process(void) {
    struct rlimit limit;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    signal(SIGPIPE, SIG_IGN);
    if (!getrlimit(RLIMIT_NOFILE, &limit)) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static inline struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static inline void no_delay(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* The value of a header inside `head` (which ends in an empty line), or NULL. */
static inline const char *find_header(const char *head, size_t length, const char *name) {
    size_t wanted = strlen(name);
    const char *line = head, *end = head + length;
    while ((line = memchr(line, '\n', end - line))) {
        line++;
        if ((size_t)(end - line) <= wanted) return NULL;
        if (!strncasecmp(line, name, wanted) && line[wanted] == ':') {
            line += wanted + 1;
            while (*line == ' ') line++;
            return line;
        }
    }
    return NULL;
}

#endif
