// The call center: 180 and 200 to every INVITE, 200 to BYE, OPTIONS and the rest. It keeps no state; a tag is a hash
// of the Call-ID, so that a retransmitted request gets the same answer. It never retransmits a 200 (RFC 3261 §13.3.1.4):
// what is lost on loopback was dropped by a server's full socket, and that shall count as a failed call.
//   center ADDRESS:PORT
#include "net.h"
#include "message.h"

static unsigned tag_of(Text call_id) {
    unsigned hash = 2166136261u; // FNV-1a
    for (int i = 0; i < call_id.length; i++) hash = (hash ^ (unsigned char)call_id.start[i]) * 16777619u;
    return hash;
}

// RFC 3261 §8.2.6.2, §12.1.1: what an answer copies, in the order of arrival.
static size_t copy_headers(char *out, size_t at, const char *request) {
    static const char *const copied[] = {"Via", "From", "To", "Call-ID", "CSeq", "Record-Route"};
    const char *line = line_after(request);
    for (; *line && *line != '\r'; line = line_after(line)) {
        size_t name_length = strcspn(line, ": \t");
        for (size_t i = 0; i < sizeof copied / sizeof *copied; i++) {
            if (strlen(copied[i]) != name_length || strncasecmp(line, copied[i], name_length)) continue;
            Text value = header_value(line);
            at = append(out, at, "%s: %.*s", copied[i], value.length, value.start);
            if (!strcmp(copied[i], "To") && !memmem(value.start, (size_t)value.length, ";tag=", 5))
                at = append(out, at, ";tag=%08x", tag_of(header(request, "Call-ID")));
            at = append(out, at, "\r\n");
        }
    }
    return at;
}

static void answer(Socket *s, int from, const char *status, const char *contact, const char *body) {
    char *out = socket_room(s, &s->from[from]);
    size_t at = append(out, 0, "SIP/2.0 %s\r\n", status);
    at = copy_headers(out, at, s->in[from]);
    if (contact) at = append(out, at, "Contact: <sip:center@%s>\r\n", contact);
    if (body) at = append(out, at, "Content-Type: application/sdp\r\n");
    at = append(out, at, "Content-Length: %zu\r\n\r\n%s", body ? strlen(body) : 0, body ? body : "");
    socket_stage(s, at);
}

int main(int count, char **argument) {
    if (count != 2) return fprintf(stderr, "center ADDRESS:PORT\n"), 2;
    signal(SIGTERM, stop_on_signal);
    signal(SIGINT, stop_on_signal);
    Socket *s = socket_open(argument[1]);
    long invites = 0, acks = 0, byes = 0;

    while (!stopping) {
        int received = socket_receive(s);
        for (int i = 0; i < received; i++) {
            const char *request = s->in[i];
            if (!strncmp(request, "INVITE ", 7)) {
                invites++;
                answer(s, i, "180 Ringing", argument[1], NULL);
                answer(s, i, "200 OK", argument[1], SDP);
            } else if (!strncmp(request, "ACK ", 4)) {
                acks++;
            } else if (strncmp(request, "SIP/2.0 ", 8)) {
                byes += !strncmp(request, "BYE ", 4);
                answer(s, i, "200 OK", NULL, NULL);
            }
        }
        socket_flush(s);
        if (received < BATCH) socket_wait(s, 1);
    }
    printf("{\"invites\": %ld, \"acks\": %ld, \"byes\": %ld}\n", invites, acks, byes);
    return 0;
}
