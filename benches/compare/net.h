// Batched UDP on one socket: receive many datagrams by one system call, stage answers, send them by one call.
// The generator must cost little beside the servers it measures; it shares their two cores.
#pragma once
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 64, DATAGRAM_MAX = 4096, SOCKET_BUFFER = 4 << 20 };

typedef struct sockaddr_in Address;

typedef struct {
    int descriptor;
    int staged;
    char in[BATCH][DATAGRAM_MAX], out[BATCH][DATAGRAM_MAX];
    Address from[BATCH], to[BATCH];
    struct iovec in_part[BATCH], out_part[BATCH];
    struct mmsghdr in_message[BATCH], out_message[BATCH];
} Socket;

static volatile sig_atomic_t stopping;

static inline void stop_on_signal(int number) {
    (void)number;
    stopping = 1;
}

static inline void die(const char *what) {
    perror(what);
    exit(1);
}

static inline double seconds_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

// "127.0.0.1:5060"
static inline Address address_parse(const char *text) {
    char host[64];
    int port;
    Address address = {.sin_family = AF_INET};
    if (sscanf(text, "%63[^:]:%d", host, &port) != 2 || inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        fprintf(stderr, "not an address:port: %s\n", text);
        exit(2);
    }
    address.sin_port = htons((unsigned short)port);
    return address;
}

static inline Socket *socket_open(const char *local) {
    Socket *s = calloc(1, sizeof *s);
    Address address = address_parse(local);
    int size = SOCKET_BUFFER;
    s->descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    setsockopt(s->descriptor, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(s->descriptor, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (bind(s->descriptor, (struct sockaddr *)&address, sizeof address)) die(local);
    for (int i = 0; i < BATCH; i++) {
        s->in_part[i] = (struct iovec){s->in[i], DATAGRAM_MAX - 1};
        s->out_part[i] = (struct iovec){s->out[i], 0};
        s->in_message[i].msg_hdr = (struct msghdr){.msg_name = &s->from[i], .msg_iov = &s->in_part[i], .msg_iovlen = 1};
        s->out_message[i].msg_hdr = (struct msghdr){
            .msg_name = &s->to[i], .msg_namelen = sizeof s->to[i], .msg_iov = &s->out_part[i], .msg_iovlen = 1};
    }
    return s;
}

// Datagrams read, 0 when there are none. Each is in `in[i]`, NUL-terminated, `in_message[i].msg_len` long.
static inline int socket_receive(Socket *s) {
    for (int i = 0; i < BATCH; i++) s->in_message[i].msg_hdr.msg_namelen = sizeof s->from[i];
    int count = recvmmsg(s->descriptor, s->in_message, BATCH, 0, NULL);
    for (int i = 0; i < count; i++) s->in[i][s->in_message[i].msg_len] = 0;
    return count > 0 ? count : 0;
}

static inline void socket_flush(Socket *s) {
    int sent = 0;
    while (sent < s->staged) {
        int count = sendmmsg(s->descriptor, s->out_message + sent, (unsigned)(s->staged - sent), 0);
        if (count > 0) sent += count;
        else if (errno == EAGAIN || errno == ENOBUFS) poll(&(struct pollfd){s->descriptor, POLLOUT, 0}, 1, 10);
        else if (errno == ECONNREFUSED) continue; // ICMP of an earlier datagram
        else die("sendmmsg");
    }
    s->staged = 0;
}

// Room for one datagram to `to`; `socket_stage` says how long it became.
static inline char *socket_room(Socket *s, const Address *to) {
    if (s->staged == BATCH) socket_flush(s);
    s->to[s->staged] = *to;
    return s->out[s->staged];
}

static inline void socket_stage(Socket *s, size_t length) {
    s->out_part[s->staged++].iov_len = length;
}

static inline void socket_wait(Socket *s, double seconds) {
    if (seconds <= 0) return;
    struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    ppoll(&(struct pollfd){s->descriptor, POLLIN, 0}, 1, &time, NULL);
}
