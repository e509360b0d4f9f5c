// The little of SIP a load generator needs: find a header, append text. Long header names only.
#pragma once
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

typedef struct {
    const char *start;
    int length;
} Text;

static const char SDP[] =
    "v=0\r\no=- 3904 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 6000 RTP/AVP 0 8 18 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
    "a=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\na=rtpmap:101 telephone-event/8000\r\n"
    "a=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n";

// The first line at or after `line` that starts with `name:`; NULL when the head ends before.
static inline const char *header_line(const char *line, const char *name) {
    size_t length = strlen(name);
    while (*line && *line != '\r') {
        if (!strncasecmp(line, name, length) && line[length] == ':') return line;
        line = strchr(line, '\n');
        if (!line) return NULL;
        line++;
    }
    return NULL;
}

static inline const char *line_after(const char *line) {
    const char *end = strchr(line, '\n');
    return end ? end + 1 : line + strlen(line);
}

static inline Text header_value(const char *line) {
    const char *start = strchr(line, ':') + 1;
    while (*start == ' ') start++;
    return (Text){start, (int)strcspn(start, "\r\n")};
}

// The first header of that name; empty when absent.
static inline Text header(const char *message, const char *name) {
    const char *line = header_line(line_after(message), name);
    return line ? header_value(line) : (Text){"", 0};
}

// What stands between < and >, or the whole value.
static inline Text uri_of(Text value) {
    const char *open = memchr(value.start, '<', (size_t)value.length);
    if (!open) return value;
    const char *close = memchr(open, '>', (size_t)(value.start + value.length - open));
    return close ? (Text){open + 1, (int)(close - open - 1)} : value;
}

__attribute__((format(printf, 3, 4))) static inline size_t append(char *out, size_t at, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(out + at, DATAGRAM_MAX - at, format, arguments);
    va_end(arguments);
    if (length < 0 || at + (size_t)length >= DATAGRAM_MAX) {
        fprintf(stderr, "a message over %d bytes\n", DATAGRAM_MAX);
        exit(1);
    }
    return at + (size_t)length;
}
