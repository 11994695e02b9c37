/* A load client that costs little CPU, and believes nothing.

   usage: load PORT REQUEST --connections N --tokens N [--seconds S] [--ramp S] [--done] [--timeout S]

   REQUEST is a file with a whole HTTP/1.1 request; the eight characters after "bench-id:" are
   overwritten for each request. With --seconds every connection sends one request after the other
   (closed loop) until the time is over, and what is under way is awaited; without it every
   connection sends one. Connections start over --ramp seconds. --done: a good answer ends in
   "[DONE]".

   An answer is good when its status is 200, it carries every token of this very request in order,
   and it ends as HTTP says it must. Prints one JSON object. */

#include "common.h"

enum state { IDLE, CONNECTING, TALKING };
enum part { HEAD, BY_LENGTH, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER, UNTIL_CLOSE, OVER };
enum scan { OUTSIDE, ID, NUMBER, STAMP };

struct connection {
    int fd, status, tokens, id_used;
    enum state state;
    enum part part;
    enum scan scan;
    bool wants_room, is_last, is_foreign, is_counted;
    int64_t began, first_token, left, number, stamp;
    size_t written;
    char id[ID_LENGTH + 1], seen_id[ID_LENGTH + 1], tail[16];
    struct buffer request, head, error;
    struct timer timer;
};

struct series {
    double *values;
    size_t length, capacity;
};

static struct series latency, ttft, delay;
static struct {
    char name[40];
    long count;
} errors[64];
static char first_error[400];
static int epoll_fd, port, connections = 1, tokens = 16, unfinished;
static double seconds, ramp, timeout_s = 90;
static bool wants_done;
static long answered, good, tokens_seen, good_in_time;
static int64_t start, stop, last_answer;
static size_t id_offset;
static uint32_t next_id = 1;

static void record(struct series *s, double value) {
    if (s->length == s->capacity) {
        s->capacity = s->capacity ? s->capacity * 2 : 4096;
        s->values = realloc(s->values, s->capacity * sizeof *s->values);
        if (!s->values) die("realloc");
    }
    s->values[s->length++] = value;
}

static void count_error(struct connection *c, const char *name) {
    int i = 0;
    while (i < 63 && errors[i].count && strcmp(errors[i].name, name)) i++;
    snprintf(errors[i].name, sizeof errors[i].name, "%s", name);
    if (!errors[i].count++ && !first_error[0] && c->error.length)
        snprintf(first_error, sizeof first_error, "%.*s",
                 (int)(c->error.length < 300 ? c->error.length : 300), c->error.data);
}

static bool watch(struct connection *c, int operation, bool room) {
    struct epoll_event event = {.events = EPOLLIN | (room ? EPOLLOUT : 0), .data.ptr = c};
    c->wants_room = room;
    return !epoll_ctl(epoll_fd, operation, c->fd, &event);
}

static void hang_up(struct connection *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    c->state = IDLE;
}

/* Look for tokens "#<id>.<number>@<time>;" in a piece of the body, wherever it was cut. */
static void scan_body(struct connection *c, const char *data, size_t length, int64_t now) {
    for (const char *p = data, *end = data + length; p < end; p++) {
        if (*p == '#') {
            c->scan = ID;
            c->id_used = 0;
            continue;
        }
        switch (c->scan) {
        case OUTSIDE:
            p = memchr(p, '#', end - p);
            if (!p) goto tail;
            p--; /* the loop goes on at the mark itself */
            break;
        case ID:
            if (c->id_used < ID_LENGTH && isxdigit((unsigned char)*p)) c->seen_id[c->id_used++] = *p;
            else if (c->id_used == ID_LENGTH && *p == '.') c->scan = NUMBER, c->number = 0;
            else c->scan = OUTSIDE;
            break;
        case NUMBER:
            if (isdigit((unsigned char)*p)) c->number = c->number * 10 + *p - '0';
            else if (*p == '@') c->scan = STAMP, c->stamp = 0;
            else c->scan = OUTSIDE;
            break;
        case STAMP:
            if (isdigit((unsigned char)*p)) {
                c->stamp = c->stamp * 10 + *p - '0';
                break;
            }
            c->scan = OUTSIDE;
            if (*p != ';') break;
            if (memcmp(c->seen_id, c->id, ID_LENGTH) || c->number != c->tokens) c->is_foreign = true;
            if (!c->tokens++) c->first_token = now;
            tokens_seen++;
            record(&delay, (double)(now - c->stamp) / MS);
        }
    }
tail:
    if (length >= sizeof c->tail) {
        memcpy(c->tail, data + length - sizeof c->tail, sizeof c->tail);
    } else {
        memmove(c->tail, c->tail + length, sizeof c->tail - length);
        memcpy(c->tail + sizeof c->tail - length, data, length);
    }
    if (c->status != 200 && c->error.length < 300) buffer_append(&c->error, data, length);
}

static void read_head(struct connection *c) {
    const char *value;
    c->status = c->head.length > 12 ? atoi(c->head.data + 9) : 0;
    value = find_header(c->head.data, c->head.length, "connection");
    c->is_last = value && !strncasecmp(value, "close", 5);
    value = find_header(c->head.data, c->head.length, "transfer-encoding");
    if (value && !strncasecmp(value, "chunked", 7)) {
        c->part = CHUNK_SIZE;
        c->left = 0;
        return;
    }
    value = find_header(c->head.data, c->head.length, "content-length");
    if (value) {
        c->left = strtoll(value, NULL, 10);
        c->part = c->left ? BY_LENGTH : OVER;
        return;
    }
    c->part = UNTIL_CLOSE;
    c->is_last = true;
}

/* Follow one answer through head and body, wherever the pieces were cut. */
static void read_answer(struct connection *c, const char *data, size_t length, int64_t now) {
    const char *p = data, *end = data + length;
    while (p < end && c->part != OVER) {
        size_t n = end - p;
        switch (c->part) {
        case HEAD:
            buffer_append(&c->head, p++, 1);
            if (c->head.length >= 4 && !memcmp(c->head.data + c->head.length - 4, "\r\n\r\n", 4))
                read_head(c);
            break;
        case BY_LENGTH:
        case CHUNK_DATA:
            if ((int64_t)n > c->left) n = c->left;
            scan_body(c, p, n, now);
            p += n;
            c->left -= n;
            if (!c->left) c->part = c->part == BY_LENGTH ? OVER : CHUNK_END;
            break;
        case CHUNK_SIZE:
            if (isxdigit((unsigned char)*p))
                c->left = c->left * 16 + (isdigit((unsigned char)*p) ? *p - '0' : (*p | 32) - 'a' + 10);
            else if (*p == '\n') c->part = c->left ? CHUNK_DATA : TRAILER;
            p++;
            break;
        case CHUNK_END:
            if (*p++ == '\n') c->part = CHUNK_SIZE;
            break;
        case TRAILER: /* we send nothing that would bring trailers: one empty line */
            if (*p++ == '\n') c->part = OVER;
            break;
        case UNTIL_CLOSE:
            scan_body(c, p, n, now);
            p = end;
            break;
        case OVER:
            break;
        }
    }
}

static void begin_request(struct connection *c, int64_t now);

/* Decide what comes after an answer or an error: the next request, or nothing. */
static void go_on(struct connection *c, int64_t now, int64_t pause) {
    if (seconds && now < stop) {
        if (pause) timer_start(&c->timer, now + pause);
        else begin_request(c, now);
        return;
    }
    timer_cancel(&c->timer);
    hang_up(c);
    if (!c->is_counted) unfinished--;
    c->is_counted = true;
}

static void fail(struct connection *c, const char *name, int64_t now) {
    count_error(c, name);
    hang_up(c);
    go_on(c, now, 20 * MS);
}

static void finish(struct connection *c, int64_t now) {
    char name[40];
    answered++;
    last_answer = now;
    if (c->status != 200) {
        snprintf(name, sizeof name, "status_%d", c->status);
        count_error(c, name);
    } else if (c->is_foreign) {
        count_error(c, "foreign_answer");
    } else if (c->tokens != tokens) {
        count_error(c, "tokens_missing");
    } else if (wants_done && !memmem(c->tail, sizeof c->tail, "[DONE]", 6)) {
        count_error(c, "no_done");
    } else {
        good++;
        if (now < stop) good_in_time++;
        record(&latency, (double)(now - c->began) / MS);
        record(&ttft, (double)(c->first_token - c->began) / MS);
    }
    if (c->is_last) hang_up(c);
    go_on(c, now, 0);
}

static void write_request(struct connection *c, int64_t now) {
    while (c->written < c->request.length) {
        ssize_t n = send(c->fd, c->request.data + c->written, c->request.length - c->written,
                         MSG_NOSIGNAL);
        if (n > 0) {
            c->written += n;
            continue;
        }
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) {
            if (!c->wants_room) watch(c, EPOLL_CTL_MOD, true);
            return;
        }
        fail(c, "write_failed", now);
        return;
    }
    c->state = TALKING;
    if (c->wants_room) watch(c, EPOLL_CTL_MOD, false);
}

static void begin_request(struct connection *c, int64_t now) {
    char id[ID_LENGTH + 1];
    snprintf(id, sizeof id, "%08x", next_id++);
    memcpy(c->id, id, sizeof id);
    memcpy(c->request.data + id_offset, id, ID_LENGTH);
    c->began = now;
    c->written = c->head.length = c->error.length = 0;
    c->status = c->tokens = 0;
    c->part = HEAD;
    c->scan = OUTSIDE;
    c->is_foreign = c->is_last = false;
    memset(c->tail, 0, sizeof c->tail);
    timer_start(&c->timer, now + (int64_t)(timeout_s * SECOND));
    if (c->fd >= 0) {
        write_request(c, now);
        return;
    }
    struct sockaddr_in address = loopback(port);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("socket");
    no_delay(c->fd);
    c->state = CONNECTING;
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) {
        fail(c, "connect_failed", now);
        return;
    }
    watch(c, EPOLL_CTL_ADD, true);
}

static void on_readable(struct connection *c) {
    static char data[262144];
    ssize_t n = recv(c->fd, data, sizeof data, 0);
    int64_t now = now_ns();
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n > 0) {
        read_answer(c, data, n, now);
        if (c->part == OVER) finish(c, now);
        return;
    }
    if (n == 0 && c->part == UNTIL_CLOSE) {
        c->part = OVER;
        finish(c, now);
        return;
    }
    fail(c, c->state == CONNECTING ? "connect_failed" : c->head.length ? "cut_off" : "closed", now);
}

static void on_timer(struct connection *c, int64_t now) {
    timer_cancel(&c->timer);
    if (c->state == IDLE) {
        if (c->is_counted) return;
        if (seconds && now >= stop) go_on(c, now, 0);
        else begin_request(c, now);
        return;
    }
    fail(c, "timeout", now);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_series(const char *name, struct series *s) {
    if (s->length) qsort(s->values, s->length, sizeof *s->values, ascending);
    printf("\"%s\":{\"count\":%zu", name, s->length);
    if (s->length) {
        printf(",\"p50\":%.4f,\"p90\":%.4f,\"p99\":%.4f,\"max\":%.4f",
               s->values[s->length / 2], s->values[s->length * 9 / 10],
               s->values[s->length * 99 / 100], s->values[s->length - 1]);
    }
    printf("},");
}

static void print_text(const char *text) {
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') putchar('\\');
        if ((unsigned char)*text >= 32) putchar(*text);
    }
}

static void print_report(void) {
    double elapsed = answered ? (double)(last_answer - start) / SECOND : 0;
    printf("{\"connections\":%d,\"elapsed_s\":%.4f,\"answered\":%ld,\"good\":%ld,"
           "\"rps\":%.2f,\"tokens\":%ld,\"tokens_per_s\":%.1f,",
           connections, elapsed, answered, good,
           seconds ? good_in_time / seconds : elapsed > 0 ? good / elapsed : 0, tokens_seen,
           elapsed > 0 ? tokens_seen / elapsed : 0);
    print_series("latency_ms", &latency);
    print_series("ttft_ms", &ttft);
    print_series("delay_ms", &delay);
    printf("\"errors\":{");
    for (int i = 0; i < 64 && errors[i].count; i++)
        printf("%s\"%s\":%ld", i ? "," : "", errors[i].name, errors[i].count);
    printf("},\"first_error\":\"");
    print_text(first_error);
    printf("\"}\n");
}

static struct buffer read_request(const char *path) {
    struct buffer request = {0};
    FILE *file = fopen(path, "rb");
    if (!file) die(path);
    for (size_t n = 1; n;) {
        buffer_reserve(&request, 65536);
        n = fread(request.data + request.length, 1, 65536, file);
        request.length += n;
    }
    fclose(file);
    char *mark = memmem(request.data, request.length, ID_MARK, strlen(ID_MARK));
    if (!mark) {
        fprintf(stderr, "the request carries no %s00000000\n", ID_MARK);
        exit(2);
    }
    id_offset = mark + strlen(ID_MARK) - request.data;
    return request;
}

static void read_options(int count, char **words) {
    for (int i = 0; i < count; i++) {
        const char *value = i + 1 < count ? words[i + 1] : "";
        if (!strcmp(words[i], "--done")) wants_done = true;
        else if (!strcmp(words[i], "--connections")) connections = atoi(value), i++;
        else if (!strcmp(words[i], "--tokens")) tokens = atoi(value), i++;
        else if (!strcmp(words[i], "--seconds")) seconds = atof(value), i++;
        else if (!strcmp(words[i], "--ramp")) ramp = atof(value), i++;
        else if (!strcmp(words[i], "--timeout")) timeout_s = atof(value), i++;
        else {
            fprintf(stderr, "unknown option %s\n", words[i]);
            exit(2);
        }
    }
}

int main(int count, char **words) {
    if (count < 3) {
        fprintf(stderr, "usage: load PORT REQUEST --connections N --tokens N [--seconds S] "
                        "[--ramp S] [--done] [--timeout S]\n");
        return 2;
    }
    port = atoi(words[1]);
    read_options(count - 3, words + 3);
    prepare_process();
    struct buffer request = read_request(words[2]);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int alarm_fd = open_alarm(epoll_fd);
    struct connection *all = calloc(connections, sizeof *all);
    if (!all) die("calloc");
    start = now_ns();
    stop = start + (int64_t)(seconds * SECOND);
    unfinished = connections;
    for (int i = 0; i < connections; i++) {
        all[i].fd = -1;
        buffer_append(&all[i].request, request.data, request.length);
        all[i].timer = (struct timer){.slot = -1, .owner = &all[i]};
        timer_start(&all[i].timer, start + (int64_t)(ramp * SECOND * i / connections));
    }
    struct epoll_event events[256];
    while (unfinished > 0) {
        int64_t now = now_ns();
        while (heap_length && heap[0]->at <= now) on_timer(heap[0]->owner, now);
        if (unfinished <= 0) break;
        alarm_rearm(alarm_fd);
        int ready = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c || c->fd < 0) continue; /* the alarm, or closed a moment ago */
            if (c->state == CONNECTING && events[i].events & (EPOLLERR | EPOLLHUP))
                fail(c, "connect_failed", now_ns());
            else if (events[i].events & EPOLLIN) on_readable(c);
            else if (events[i].events & EPOLLOUT) write_request(c, now_ns());
            else fail(c, "reset", now_ns());
        }
    }
    print_report();
    return 0;
}
