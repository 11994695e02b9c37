/* A stub of an OpenAI-compatible model server that costs little CPU.

   usage: stub            listens on a free port of 127.0.0.1 and prints "port N"

   POST .../chat/completions and .../completions, plain or as server-sent events. The model's name
   says how it answers; parts in any order, joined by "_", "." or "/":

     tokens-N     N tokens (16)
     ttft-Nms     N ms before the first byte (0)
     slow-Nms     N ms between streamed tokens; a plain answer waits N ms for each token (0)

   Every token reads "#<id>.<number>@<time>;": the id that the prompt carries after "bench-id:" (so
   that the client notices an answer that belongs to somebody else), the token's number, and the
   monotonic time in nanoseconds at which it was written.

   GET .../stats        what was served; any other GET answers a list of models. */

#include "common.h"

enum phase { READING, WAITING, STREAMING };

struct connection {
    int fd;
    enum phase phase;
    bool is_chat, is_stream, closes, waits_for_room;
    int tokens, sent;
    int64_t gap, next;
    char id[ID_LENGTH + 1], model[128];
    struct buffer in, out;
    struct timer timer;
};

static int epoll_fd;
static long requests, completed, aborted;

static const char *EVENT_CHAT =
    "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
    "\"model\":\"%s\",\"choices\":[{\"index\":0,\"delta\":{%s},\"logprobs\":null,"
    "\"finish_reason\":%s}]}\n\n";
static const char *EVENT_TEXT =
    "data: {\"id\":\"cmpl-bench\",\"object\":\"text_completion\",\"created\":1700000000,"
    "\"model\":\"%s\",\"choices\":[{\"index\":0,\"text\":\"%s\",\"logprobs\":null,"
    "\"finish_reason\":%s}]}\n\n";
static const char *EVENT_USAGE =
    "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
    "\"model\":\"%s\",\"choices\":[],\"usage\":{\"prompt_tokens\":300,\"completion_tokens\":%d,"
    "\"total_tokens\":%d}}\n\n";

static void drop(struct connection *c) {
    if (c->phase != READING) aborted++;
    timer_cancel(&c->timer);
    close(c->fd);
    free(c->in.data);
    free(c->out.data);
    free(c);
}

/* Write what is waiting. Returns false where the connection is gone. */
static bool flush(struct connection *c) {
    size_t done = 0;
    while (done < c->out.length) {
        ssize_t n = send(c->fd, c->out.data + done, c->out.length - done, MSG_NOSIGNAL);
        if (n > 0) {
            done += n;
            continue;
        }
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) break;
        return false;
    }
    buffer_consume(&c->out, done);
    bool waits = c->out.length > 0;
    if (waits != c->waits_for_room) {
        struct epoll_event event = {.events = EPOLLIN | (waits ? EPOLLOUT : 0), .data.ptr = c};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event)) die("epoll_ctl");
        c->waits_for_room = waits;
    }
    return true;
}

static int write_token(struct connection *c, char *to, size_t room) {
    return snprintf(to, room, "#%s.%d@%lld;", c->id, c->sent++, (long long)now_ns());
}

static void write_chunk(struct connection *c, const char *event, int length) {
    char size[16];
    buffer_append(&c->out, size, sprintf(size, "%x\r\n", length));
    buffer_append(&c->out, event, length);
    buffer_append(&c->out, "\r\n", 2);
}

static void write_event(struct connection *c, const char *text, const char *finish_reason) {
    char event[1024], delta[256];
    int length;
    if (c->is_chat) {
        snprintf(delta, sizeof delta, text ? "\"content\":\"%s\"" : "", text);
        length = snprintf(event, sizeof event, EVENT_CHAT, c->model, delta, finish_reason);
    } else {
        length = snprintf(event, sizeof event, EVENT_TEXT, c->model, text ? text : "",
                          finish_reason);
    }
    write_chunk(c, event, length);
}

static void write_stream_start(struct connection *c) {
    static const char head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
                               "transfer-encoding: chunked\r\n\r\n";
    buffer_append(&c->out, head, sizeof head - 1);
}

static void write_stream_end(struct connection *c) {
    char event[512];
    write_event(c, NULL, "\"stop\"");
    write_chunk(c, event,
                snprintf(event, sizeof event, EVENT_USAGE, c->model, c->sent, 300 + c->sent));
    write_chunk(c, "data: [DONE]\n\n", 14);
    buffer_append(&c->out, "0\r\n\r\n", 5);
}

static void write_plain(struct connection *c, const char *body, size_t length) {
    char head[160];
    buffer_append(&c->out, head,
                  sprintf(head, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                                "content-length: %zu\r\n\r\n", length));
    buffer_append(&c->out, body, length);
}

static void write_answer(struct connection *c) {
    static struct buffer body;
    char part[512];
    body.length = 0;
    buffer_append(&body, part,
                  snprintf(part, sizeof part,
                           "{\"id\":\"%s-bench\",\"object\":\"%s\",\"created\":1700000000,"
                           "\"model\":\"%s\",\"choices\":[{\"index\":0,%s",
                           c->is_chat ? "chatcmpl" : "cmpl",
                           c->is_chat ? "chat.completion" : "text_completion", c->model,
                           c->is_chat ? "\"message\":{\"role\":\"assistant\",\"content\":\""
                                      : "\"text\":\""));
    while (c->sent < c->tokens) buffer_append(&body, part, write_token(c, part, sizeof part));
    buffer_append(&body, part,
                  snprintf(part, sizeof part,
                           "\"%s,\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":"
                           "{\"prompt_tokens\":300,\"completion_tokens\":%d,\"total_tokens\":%d}}",
                           c->is_chat ? "}" : "", c->sent, 300 + c->sent));
    write_plain(c, body.data, body.length);
}

/* Send what is due now; the answer is over when all tokens are sent. */
static void advance(struct connection *c) {
    char token[128];
    if (c->is_stream) {
        if (c->phase == WAITING) {
            write_stream_start(c);
            c->phase = STREAMING;
        }
        for (int64_t now = now_ns(); c->sent < c->tokens && c->next <= now; c->next += c->gap) {
            write_token(c, token, sizeof token);
            write_event(c, token, "null");
        }
        if (c->sent < c->tokens) {
            timer_start(&c->timer, c->next);
            return;
        }
        write_stream_end(c);
    } else {
        write_answer(c);
    }
    c->phase = READING;
    completed++;
}

static void read_model_name(struct connection *c) {
    int ttft = 0, slow = 0;
    c->tokens = 16;
    for (const char *part = c->model; part; part = strpbrk(part, "_./")) {
        part += strspn(part, "_./");
        sscanf(part, "tokens-%d", &c->tokens);
        sscanf(part, "ttft-%dms", &ttft);
        sscanf(part, "slow-%dms", &slow);
    }
    c->gap = slow * MS;
    c->next = now_ns() + ttft * MS;
    if (!c->is_stream) c->next += c->gap * c->tokens;
}

/* Read the few facts we answer by. Quotes inside a JSON string are escaped, so that none of these
   patterns can match inside the prompt. */
static void read_body(struct connection *c, const char *body, size_t length) {
    const char *found = memmem(body, length, "\"model\"", 7);
    size_t used = 0;
    if (found && (found = memchr(found + 7, '"', length - (found + 7 - body))))
        for (found++; found < body + length && used < sizeof c->model - 1; found++) {
            if (*found == '"' || *found == '\\') break;
            c->model[used++] = *found;
        }
    c->model[used] = 0;
    c->is_stream = memmem(body, length, "\"stream\":true", 13) ||
                   memmem(body, length, "\"stream\": true", 14);
    found = memmem(body, length, ID_MARK, strlen(ID_MARK));
    memset(c->id, '0', ID_LENGTH);
    if (found && (size_t)(found - body) + strlen(ID_MARK) + ID_LENGTH <= length)
        memcpy(c->id, found + strlen(ID_MARK), ID_LENGTH);
}

static void answer_get(struct connection *c, const char *path, size_t length) {
    char body[256];
    int size = memmem(path, length, "/stats", 6)
                   ? snprintf(body, sizeof body,
                              "{\"requests\":%ld,\"completed\":%ld,\"aborted\":%ld}", requests,
                              completed, aborted)
                   : snprintf(body, sizeof body,
                              "{\"object\":\"list\",\"data\":[{\"id\":\"tokens-16\","
                              "\"object\":\"model\",\"owned_by\":\"bench\"}]}");
    write_plain(c, body, size);
}

/* Take requests from what was read. Returns false where the connection cannot go on. */
static bool take_requests(struct connection *c) {
    while (c->phase == READING && c->in.length) {
        char *end = memmem(c->in.data, c->in.length, "\r\n\r\n", 4);
        if (!end) return c->in.length < 65536;
        size_t head = end + 4 - c->in.data, length = 0;
        const char *header = find_header(c->in.data, head, "content-length");
        if (header) length = strtoul(header, NULL, 10);
        if (find_header(c->in.data, head, "transfer-encoding")) return false;
        if (c->in.length < head + length) return true;
        char *path = memchr(c->in.data, ' ', head);
        if (!path) return false;
        size_t path_length = strcspn(++path, " \r\n");
        if (!strncmp(c->in.data, "POST ", 5)) {
            requests++;
            c->is_chat = memmem(path, path_length, "/chat/completions", 17) != NULL;
            c->sent = 0;
            c->phase = WAITING;
            read_body(c, c->in.data + head, length);
            read_model_name(c);
            if (c->next <= now_ns()) advance(c);
            else timer_start(&c->timer, c->next);
        } else {
            answer_get(c, path, path_length);
        }
        buffer_consume(&c->in, head + length);
    }
    return true;
}

static bool on_readable(struct connection *c) {
    for (;;) {
        buffer_reserve(&c->in, 8192);
        ssize_t n = recv(c->fd, c->in.data + c->in.length, c->in.capacity - c->in.length, 0);
        if (n == 0) return false;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            if (errno != EAGAIN) return false;
            break;
        }
        c->in.length += n;
        if (c->in.length < c->in.capacity) break;
    }
    return take_requests(c) && flush(c);
}

static void accept_all(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        no_delay(fd);
        struct connection *c = calloc(1, sizeof *c);
        if (!c) die("calloc");
        c->fd = fd;
        c->timer = (struct timer){.slot = -1, .owner = c};
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
    }
}

static int listen_anywhere(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = loopback(0);
    socklen_t length = sizeof address;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, length)) die("bind");
    if (listen(fd, 4096)) die("listen");
    getsockname(fd, (struct sockaddr *)&address, &length);
    printf("port %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(void) {
    prepare_process();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int alarm_fd = open_alarm(epoll_fd), listener = listen_anywhere();
    struct epoll_event events[256];
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event)) die("epoll_ctl");
    for (;;) {
        alarm_rearm(alarm_fd);
        int ready = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c) continue; /* the alarm: the timers are looked at below */
            if ((void *)c == &listener) accept_all(listener);
            else if (events[i].events & EPOLLIN ? !on_readable(c) : !flush(c)) drop(c);
        }
        for (int64_t now = now_ns(); heap_length && heap[0]->at <= now;) {
            struct connection *c = heap[0]->owner;
            timer_cancel(&c->timer);
            advance(c);
            if (!take_requests(c) || !flush(c)) drop(c);
        }
    }
}
