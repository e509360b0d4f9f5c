// MD5 (RFC 1321), for digest authentication (RFC 7616) by the load generator only.
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static inline void md5_block(uint32_t state[4], const uint8_t *block) {
    static const uint8_t shifts[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
    static uint32_t sines[64];
    if (!sines[0])
        for (int i = 0; i < 64; i++) sines[i] = (uint32_t)(fabs(sin(i + 1)) * 4294967296.0); // RFC 1321 §3.4
    uint32_t words[16], a = state[0], b = state[1], c = state[2], d = state[3];
    memcpy(words, block, 64); // little-endian machines only
    for (int i = 0; i < 64; i++) {
        uint32_t mixed;
        int word;
        switch (i / 16) {
        case 0: mixed = (b & c) | (~b & d), word = i; break;
        case 1: mixed = (d & b) | (~d & c), word = (5 * i + 1) % 16; break;
        case 2: mixed = b ^ c ^ d, word = (3 * i + 5) % 16; break;
        default: mixed = c ^ (b | ~d), word = (7 * i) % 16; break;
        }
        uint32_t sum = a + mixed + sines[i] + words[word];
        int shift = shifts[i / 16][i % 4];
        a = d, d = c, c = b, b += sum << shift | sum >> (32 - shift);
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
}

// 32 lowercase hexadecimal digits and a NUL into `hex`.
static inline void md5_hex(const char *text, char hex[33]) {
    uint32_t state[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    size_t length = strlen(text), at = 0;
    for (; at + 64 <= length; at += 64) md5_block(state, (const uint8_t *)text + at);

    uint8_t last[128] = {0};
    size_t rest = length - at, padded = rest < 56 ? 64 : 128;
    uint64_t bits = (uint64_t)length * 8;
    memcpy(last, text + at, rest);
    last[rest] = 0x80;
    memcpy(last + padded - 8, &bits, 8);
    for (size_t i = 0; i < padded; i += 64) md5_block(state, last + i);

    const uint8_t *bytes = (const uint8_t *)state;
    for (int i = 0; i < 16; i++) sprintf(hex + 2 * i, "%02x", bytes[i]);
}
