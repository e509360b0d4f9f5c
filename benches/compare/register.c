// Phones that register: COUNT users with digest authentication (RFC 7616, MD5), WINDOW of them at a time.
//   register SERVER PHONES FIRST_USER COUNT WINDOW        (SERVER and PHONES: address:port)
// The first pass asks, is challenged and answers. Then every line on stdin starts a pass of refreshes, in which each
// phone uses the challenge it knows, as phones do, and answers a new one only when told to. One result is printed a pass.
#include "net.h"
#include "message.h"
#include "md5.h"
#include "timers.h"

typedef enum { IDLE, ASKING, ANSWERING, REGISTERED, FAILED } State;

typedef struct {
    State state;
    int sequence;    // CSeq; also tells a late response from the one awaited
    int nonce_count; // RFC 7616 §3.4: requests sent with this nonce
    char *realm, *nonce, *opaque;
    bool quality; // the server offered qop="auth"
} User;

static const char PASSWORD[] = "secret", CLIENT_NONCE[] = "0a4f113b", REQUEST_URI[] = "sip:example.com";

static Socket *sock;
static Address server;
static const char *phones;
static unsigned run_id;
static User *users;
static int first_user, count, started, registered, failed, challenged, resent;

static size_t append_authorization(char *out, size_t at, int i) {
    const User *user = &users[i];
    char text[1024], secret[33], request[33], response[33];
    snprintf(text, sizeof text, "user%06d:%s:%s", first_user + i, user->realm, PASSWORD);
    md5_hex(text, secret);
    snprintf(text, sizeof text, "REGISTER:%s", REQUEST_URI);
    md5_hex(text, request);
    if (user->quality)
        snprintf(text, sizeof text, "%s:%s:%08x:%s:auth:%s",
                 secret, user->nonce, user->nonce_count, CLIENT_NONCE, request);
    else
        snprintf(text, sizeof text, "%s:%s:%s", secret, user->nonce, request);
    md5_hex(text, response);

    at = append(out, at, "Authorization: Digest username=\"user%06d\", realm=\"%s\", nonce=\"%s\", uri=\"%s\", "
                "response=\"%s\", algorithm=MD5",
                first_user + i, user->realm, user->nonce, REQUEST_URI, response);
    if (user->quality) at = append(out, at, ", qop=auth, nc=%08x, cnonce=\"%s\"", user->nonce_count, CLIENT_NONCE);
    if (user->opaque) at = append(out, at, ", opaque=\"%s\"", user->opaque);
    return append(out, at, "\r\n");
}

// The same state gives the same bytes, so this also retransmits.
static void send_register(int i) {
    const User *user = &users[i];
    int number = first_user + i;
    char *out = socket_room(sock, &server);
    size_t at = append(out, 0, "REGISTER %s SIP/2.0\r\n", REQUEST_URI);
    at = append(out, at, "Via: SIP/2.0/UDP %s;branch=z9hG4bK-r-%x-%x-%x;rport\r\nMax-Forwards: 70\r\n",
                phones, run_id, i, user->sequence);
    at = append(out, at, "From: <sip:user%06d@example.com>;tag=%x-%x\r\nTo: <sip:user%06d@example.com>\r\n",
                number, run_id, i, number);
    at = append(out, at, "Call-ID: %x-%x@registrations\r\nCSeq: %d REGISTER\r\n", i, run_id, user->sequence);
    at = append(out, at, "Contact: <sip:user%06d@%s>\r\nExpires: 3600\r\nUser-Agent: compare\r\n", number, phones);
    if (user->nonce) at = append_authorization(out, at, i);
    socket_stage(sock, append(out, at, "Content-Length: 0\r\n\r\n"));
}

static void start(int i, double now) {
    User *user = &users[i];
    user->state = user->nonce ? ANSWERING : ASKING;
    user->nonce_count++;
    user->sequence++;
    send_register(i);
    timer_set(&resends[0], now, i, user->sequence);
}

static void fail(int i, const char *why) {
    if (failed++ < 5) fprintf(stderr, "user%06d: %.*s\n", first_user + i, (int)strcspn(why, "\r\n"), why);
    users[i].state = FAILED;
}

// A copy of the quoted parameter, NULL when absent. Also matches the end of a longer name, which no challenge has.
static char *parameter(Text challenge, const char *name) {
    char wanted[16];
    int length = snprintf(wanted, sizeof wanted, "%s=\"", name);
    const char *found = memmem(challenge.start, (size_t)challenge.length, wanted, (size_t)length);
    return found ? strndup(found + length, strcspn(found + length, "\"\r\n")) : NULL;
}

// Takes the first challenge whose algorithm is MD5, also when it does not say so (RFC 7616 §3.3).
static bool remember_challenge(User *user, const char *response) {
    const char *line = line_after(response);
    while ((line = header_line(line, "WWW-Authenticate"))) {
        Text challenge = header_value(line);
        line = line_after(line);
        const char *algorithm = memmem(challenge.start, (size_t)challenge.length, "algorithm=", 10);
        if (algorithm && strncasecmp(algorithm + 10 + (algorithm[10] == '"'), "MD5", 3)) continue;
        free(user->realm), free(user->nonce), free(user->opaque);
        user->realm = parameter(challenge, "realm");
        user->nonce = parameter(challenge, "nonce");
        user->opaque = parameter(challenge, "opaque");
        user->quality = memmem(challenge.start, (size_t)challenge.length, "qop=", 4) != NULL;
        user->nonce_count = 0;
        return user->realm && user->nonce;
    }
    return false;
}

static void on_datagram(const char *message, double now) {
    Text call_id = header(message, "Call-ID");
    int i;
    unsigned run;
    if (strncmp(message, "SIP/2.0 ", 8) || sscanf(call_id.start, "%x-%x@", (unsigned *)&i, &run) != 2) return;
    if (run != run_id || i < 0 || i >= started) return;
    User *user = &users[i];
    int status = atoi(message + 8);
    bool awaited = user->state == ASKING || user->state == ANSWERING;
    if (!awaited || status < 200 || atoi(header(message, "CSeq").start) != user->sequence) return;
    if (status == 401) {
        bool kept = user->state == ANSWERING && user->nonce_count > 1; // an old challenge was refused, not the password
        if (user->state == ANSWERING && !kept) return fail(i, message);
        if (!remember_challenge(user, message)) return fail(i, "no MD5 challenge");
        challenged++;
        start(i, now);
    } else if (status < 300) {
        user->state = REGISTERED;
        registered++;
    } else {
        fail(i, message);
    }
}

static void run_resends(double now) {
    Timer timer;
    for (int step = 0; step < RESENDS; step++) {
        while (timer_due(&resends[step], now, &timer)) {
            const User *user = &users[timer.item];
            if (user->sequence != timer.state || user->state == REGISTERED || user->state == FAILED) continue;
            if (step + 1 == RESENDS) {
                fail(timer.item, "no answer to REGISTER");
                continue;
            }
            resent++;
            send_register(timer.item);
            timer_set(&resends[step + 1], now, timer.item, timer.state);
        }
    }
}

static void pass(int window) {
    double begin = seconds_now();
    started = registered = failed = challenged = resent = 0;
    while (!stopping && registered + failed < count) {
        double now = seconds_now();
        while (started < count && started - registered - failed < window) start(started++, now);
        run_resends(now);
        socket_flush(sock);
        int received = socket_receive(sock);
        now = seconds_now();
        for (int i = 0; i < received; i++) on_datagram(sock->in[i], now);
        socket_flush(sock);
        if (!received) socket_wait(sock, 0.05);
    }
    printf("{\"ok\": %d, \"failed\": %d, \"challenged\": %d, \"resent\": %d, \"wall_s\": %.4f}\n", registered,
           count - registered, challenged, resent, seconds_now() - begin);
    fflush(stdout);
}

int main(int argument_count, char **argument) {
    if (argument_count != 6) return fprintf(stderr, "register SERVER PHONES FIRST_USER COUNT WINDOW\n"), 2;
    server = address_parse(argument[1]);
    phones = argument[2];
    sock = socket_open(phones);
    first_user = atoi(argument[3]);
    count = atoi(argument[4]);
    users = calloc((size_t)count, sizeof *users);
    run_id = (unsigned)(unsigned long long)(seconds_now() * 1e6);
    signal(SIGTERM, stop_on_signal);

    char line[16];
    do pass(atoi(argument[5]));
    while (!stopping && fgets(line, sizeof line, stdin));
    return 0;
}
