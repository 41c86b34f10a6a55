/*
 * The limit: the least that any single-threaded server can do for the bench's loads. It keeps no state about users, parses
 * nothing but frame lengths, and makes the same system calls as a real server would have to make. What a server
 * costs beyond this program is the price of its semantics and of its language.
 *
 * limit star       a frame from a publisher goes to every watcher, one write per frame and watcher
 * limit coalesced  the frames that arrived in one epoll round are joined, one write per round and watcher
 * limit read       whatever arrives is read and discarded
 *
 * A link says what it is with its first byte, 'W' (watcher) or 'P' (publisher), and is answered 'A'. In mode
 * `read` every link is a publisher. Prints `PORT` when ready, its counts as JSON at SIGTERM.
 *
 * Back-pressure is not handled, only counted: a watcher whose buffer is full loses the frame (`dropped`), and a
 * run with a drop is void.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS_MAX = 1024, LINKS_MAX = 1 << 20, READ_BYTES = 65536, FRAME_BYTES_MAX = 65536, LENGTH_BYTES = 4 };
enum mode { STAR, COALESCED, READ };

struct link {
    char role;
    size_t held_bytes;
    unsigned char *held; /* a publisher's unfinished frame */
};

static enum mode mode;
static int epoll_fd, listen_fd;
static struct link links[LINKS_MAX]; /* by descriptor; untouched pages cost nothing */
static int watchers[LINKS_MAX];
static size_t watcher_count;
static unsigned char joined[EVENTS_MAX * READ_BYTES / 8];
static size_t joined_bytes;
static uint64_t frames_in, bytes_in, writes, dropped;
static volatile sig_atomic_t stopping;

static void stop(int signal_number) { (void)signal_number, stopping = 1; }

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void write_to_watchers(const unsigned char *bytes, size_t size) {
    for (size_t i = 0; i < watcher_count; i++) {
        writes++;
        if (write(watchers[i], bytes, size) != (ssize_t)size)
            dropped++;
    }
}

static void flush(void) {
    if (joined_bytes)
        write_to_watchers(joined, joined_bytes);
    joined_bytes = 0;
}

static void deliver(const unsigned char *frame, size_t size) {
    frames_in++;
    if (mode == STAR) {
        write_to_watchers(frame, size);
        return;
    }
    if (joined_bytes + size > sizeof joined)
        flush();
    memcpy(joined + joined_bytes, frame, size);
    joined_bytes += size;
}

static void drop_link(int fd) {
    for (size_t i = 0; i < watcher_count; i++)
        if (watchers[i] == fd) {
            watchers[i] = watchers[--watcher_count];
            break;
        }
    free(links[fd].held);
    memset(&links[fd], 0, sizeof links[fd]);
    close(fd);
}

static void accept_all(void) {
    for (;;) {
        int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        if (fd >= LINKS_MAX) {
            close(fd);
            continue;
        }
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
            fail("epoll_ctl");
    }
}

static void greet(int fd, char role) {
    links[fd].role = role;
    if (role == 'W')
        watchers[watcher_count++] = fd;
    else if (mode != READ && !(links[fd].held = malloc(FRAME_BYTES_MAX + READ_BYTES)))
        fail("malloc");
    if (write(fd, "A", 1) != 1)
        dropped++;
}

static void take_frames(int fd, const unsigned char *bytes, size_t size) {
    struct link *link = &links[fd];
    memcpy(link->held + link->held_bytes, bytes, size);
    link->held_bytes += size;
    size_t at = 0;
    while (link->held_bytes - at >= LENGTH_BYTES) {
        uint32_t length;
        memcpy(&length, link->held + at, LENGTH_BYTES);
        size_t frame_bytes = LENGTH_BYTES + (size_t)ntohl(length);
        if (frame_bytes > FRAME_BYTES_MAX) {
            drop_link(fd);
            return;
        }
        if (link->held_bytes - at < frame_bytes)
            break;
        deliver(link->held + at, frame_bytes);
        at += frame_bytes;
    }
    memmove(link->held, link->held + at, link->held_bytes - at);
    link->held_bytes -= at;
}

static void readable(int fd) {
    static unsigned char bytes[READ_BYTES];
    ssize_t size = read(fd, bytes, sizeof bytes);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (size <= 0) {
        drop_link(fd);
        return;
    }
    size_t from = 0;
    if (!links[fd].role) {
        greet(fd, (char)bytes[0]);
        from = 1;
    }
    bytes_in += (size_t)size - from;
    if (mode != READ && links[fd].role == 'P')
        take_frames(fd, bytes + from, (size_t)size - from);
}

static void listen_on_loopback(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listen_fd < 0 || bind(listen_fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listen_fd, 4096) < 0 || getsockname(listen_fd, (struct sockaddr *)&address, &size) < 0)
        fail("listen");
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listen_fd};
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listen_fd, &event) < 0)
        fail("epoll");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
}

int main(int argc, char **argv) {
    const char *name = argc == 2 ? argv[1] : "";
    if (!strcmp(name, "star"))
        mode = STAR;
    else if (!strcmp(name, "coalesced"))
        mode = COALESCED;
    else if (!strcmp(name, "read"))
        mode = READ;
    else {
        fprintf(stderr, "usage: limit star|coalesced|read\n");
        return 64;
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    signal(SIGPIPE, SIG_IGN);
    struct sigaction action = {.sa_handler = stop}; /* without SA_RESTART: epoll_wait must return */
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    listen_on_loopback();
    static struct epoll_event events[EVENTS_MAX];
    while (!stopping) {
        int count = epoll_wait(epoll_fd, events, EVENTS_MAX, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listen_fd)
                accept_all();
            else
                readable(events[i].data.fd);
        }
        flush();
    }
    printf("{\"frames_in\": %llu, \"bytes_in\": %llu, \"writes\": %llu, \"dropped\": %llu}\n",
           (unsigned long long)frames_in, (unsigned long long)bytes_in, (unsigned long long)writes,
           (unsigned long long)dropped);
    return 0;
}
