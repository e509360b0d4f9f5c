// Phones that call: RATE calls a second to 911, each from another registered user, held HOLD_MS and then ended.
//   call SERVER PHONES FIRST_USER COUNT RATE HOLD_MS      (SERVER and PHONES: address:port)
// Prints {"up": n} as soon as no call is still being set up, and the result at the end.
#include "net.h"
#include "message.h"
#include "timers.h"

// In the order a call goes through them.
typedef enum { IDLE, CALLING, RINGING, UP, ENDING, ENDED, FAILED } State;

typedef struct {
    State state;
    double dialled_s;
    float setup_ms;
    char *target; // the remote target: the callee's Contact (RFC 3261 §12.1.2)
    char *dialog; // Route, From, To and Call-ID of every request within the dialog
} Call;

enum { GIVE_UP_S = 20 };

static Socket *sock;
static Address server;
static const char *phones;
static unsigned run_id;
static Call *calls;
static int first_user, count, dialled, answered, ended, failed, resent;
static double last_progress;
static TimerQueue holding;

static size_t append_via(char *out, size_t at, const char *method, int i) {
    return append(out, at, "Via: SIP/2.0/UDP %s;branch=z9hG4bK-%s-%x-%x;rport\r\nMax-Forwards: 70\r\n",
                  phones, method, run_id, i);
}

static size_t append_caller(char *out, size_t at, int i) {
    return append(out, at, "From: <sip:user%06d@example.com>;tag=%x-%x\r\n", first_user + i, run_id, i);
}

static void send_invite(int i) {
    char *out = socket_room(sock, &server);
    size_t at = append(out, 0, "INVITE sip:911@example.com SIP/2.0\r\n");
    at = append_via(out, at, "INVITE", i);
    at = append_caller(out, at, i);
    at = append(out, at, "To: <sip:911@example.com>\r\nCall-ID: %x-%x@phones\r\nCSeq: 1 INVITE\r\n", i, run_id);
    at = append(out, at, "Contact: <sip:user%06d@%s>\r\nUser-Agent: compare\r\n", first_user + i, phones);
    at = append(out, at, "Content-Type: application/sdp\r\nContent-Length: %zu\r\n\r\n%s", sizeof SDP - 1, SDP);
    socket_stage(sock, at);
}

static void send_in_dialog(int i, const char *method, int sequence) {
    char *out = socket_room(sock, &server);
    size_t at = append(out, 0, "%s %s SIP/2.0\r\n", method, calls[i].target);
    at = append_via(out, at, method, i);
    at = append(out, at, "%sCSeq: %d %s\r\nContent-Length: 0\r\n\r\n", calls[i].dialog, sequence, method);
    socket_stage(sock, at);
}

// RFC 3261 §17.1.1.3: the ACK of a refusal belongs to the transaction of the INVITE.
static void ack_refusal(int i, const char *response) {
    Text to = header(response, "To");
    char *out = socket_room(sock, &server);
    size_t at = append(out, 0, "ACK sip:911@example.com SIP/2.0\r\n");
    at = append_via(out, at, "INVITE", i);
    at = append_caller(out, at, i);
    at = append(out, at, "To: %.*s\r\nCall-ID: %x-%x@phones\r\n", to.length, to.start, i, run_id);
    at = append(out, at, "CSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n");
    socket_stage(sock, at);
}

// RFC 3261 §12.1.2: the route set is the Record-Route headers in reverse order.
static void remember_dialog(int i, const char *response) {
    enum { ROUTES_MAX = 8 };
    Text routes[ROUTES_MAX], to = header(response, "To"), target = uri_of(header(response, "Contact"));
    int route_count = 0;
    const char *line = line_after(response);
    while (route_count < ROUTES_MAX && (line = header_line(line, "Record-Route"))) {
        routes[route_count++] = header_value(line);
        line = line_after(line);
    }
    char text[DATAGRAM_MAX];
    size_t at = 0;
    while (route_count--)
        at = append(text, at, "Route: %.*s\r\n", routes[route_count].length, routes[route_count].start);
    at = append_caller(text, at, i);
    append(text, at, "To: %.*s\r\nCall-ID: %x-%x@phones\r\n", to.length, to.start, i, run_id);
    calls[i].dialog = strdup(text);
    calls[i].target = strndup(target.start, (size_t)target.length);
}

static void fail(int i, const char *why) {
    if (failed++ < 5) fprintf(stderr, "call %d of user%06d: %.*s\n", i, first_user + i, (int)strcspn(why, "\r\n"), why);
    calls[i].state = FAILED;
}

static void on_invite_response(int i, int status, const char *response, double now) {
    Call *call = &calls[i];
    if (status < 200) {
        if (call->state == CALLING) call->state = RINGING;
    } else if (status < 300) {
        if (call->state == CALLING || call->state == RINGING) {
            remember_dialog(i, response);
            call->state = UP;
            call->setup_ms = (float)((now - call->dialled_s) * 1e3);
            answered++;
            timer_set(&holding, now, i, UP);
        }
        if (call->target) send_in_dialog(i, "ACK", 1); // again for a retransmitted 200 (RFC 3261 §13.2.2.4)
    } else {
        ack_refusal(i, response);
        if (call->state < UP) fail(i, response);
    }
}

static void on_datagram(const char *message, double now) {
    Text sequence = header(message, "CSeq"), call_id = header(message, "Call-ID");
    int i;
    unsigned run;
    if (strncmp(message, "SIP/2.0 ", 8) || sscanf(call_id.start, "%x-%x@", (unsigned *)&i, &run) != 2) return;
    if (run != run_id || i < 0 || i >= dialled) return;
    int status = atoi(message + 8);
    last_progress = now;
    if (memmem(sequence.start, (size_t)sequence.length, "INVITE", 6)) {
        on_invite_response(i, status, message, now);
    } else if (calls[i].state == ENDING && status >= 200) {
        if (status >= 300) return fail(i, message);
        calls[i].state = ENDED;
        ended++;
    }
}

static void run_timers(double now) {
    Timer timer;
    while (timer_due(&holding, now, &timer)) {
        calls[timer.item].state = ENDING;
        send_in_dialog(timer.item, "BYE", 2);
        timer_set(&resends[0], now, timer.item, ENDING);
    }
    for (int step = 0; step < RESENDS; step++) {
        while (timer_due(&resends[step], now, &timer)) {
            if ((int)calls[timer.item].state != timer.state) continue;
            if (step + 1 == RESENDS) {
                fail(timer.item, timer.state == CALLING ? "no answer to INVITE" : "no answer to BYE");
                continue;
            }
            resent++;
            if (timer.state == CALLING) send_invite(timer.item);
            else send_in_dialog(timer.item, "BYE", 2);
            timer_set(&resends[step + 1], now, timer.item, timer.state);
        }
    }
}

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void print_result(double wall_s) {
    float *sorted = malloc((size_t)count * sizeof *sorted);
    int n = 0;
    for (int i = 0; i < count; i++)
        if (calls[i].target) sorted[n++] = calls[i].setup_ms;
    qsort(sorted, (size_t)n, sizeof *sorted, by_value);
    printf("{\"ok\": %d, \"failed\": %d, \"resent\": %d, \"setup_ms_p50\": %.2f, \"setup_ms_p99\": %.2f, "
           "\"wall_s\": %.2f}\n",
           ended, count - ended, resent, n ? sorted[n / 2] : 0.0, n ? sorted[n * 99 / 100] : 0.0, wall_s);
}

int main(int argument_count, char **argument) {
    if (argument_count != 7) return fprintf(stderr, "call SERVER PHONES FIRST_USER COUNT RATE HOLD_MS\n"), 2;
    server = address_parse(argument[1]);
    phones = argument[2];
    sock = socket_open(phones);
    first_user = atoi(argument[3]);
    count = atoi(argument[4]);
    double rate = atof(argument[5]), start = seconds_now();
    holding.delay_s = atof(argument[6]) * 1e-3;
    calls = calloc((size_t)count, sizeof *calls);
    run_id = (unsigned)(unsigned long long)(start * 1e6);
    last_progress = start;
    signal(SIGTERM, stop_on_signal);

    bool told = false;
    while (!stopping && ended + failed < count) {
        double now = seconds_now();
        int due = (int)((now - start) * rate) + 1;
        for (int burst = 0; dialled < count && dialled < due && burst < BATCH; burst++) {
            calls[dialled] = (Call){.state = CALLING, .dialled_s = now};
            send_invite(dialled);
            timer_set(&resends[0], now, dialled++, CALLING);
            last_progress = now;
        }
        run_timers(now);
        int received = socket_receive(sock);
        now = seconds_now();
        for (int i = 0; i < received; i++) on_datagram(sock->in[i], now);
        socket_flush(sock);

        if (!told && answered + failed >= count) {
            told = true;
            printf("{\"up\": %d}\n", answered - ended);
            fflush(stdout);
        }
        if (timer_pending(&holding)) last_progress = now;
        if (now - last_progress > GIVE_UP_S) break;
        double wait = dialled < count ? start + (dialled + 1) / rate - now : 0.01;
        if (timer_pending(&holding) && holding.timers[holding.head].due - now < wait)
            wait = holding.timers[holding.head].due - now;
        if (received < BATCH) socket_wait(sock, wait);
    }
    print_result(last_progress - start);
    return 0;
}
