// Timers as queues of equal delays: what was set first is due first, so no heap is needed. A timer remembers the state
// of its item when it was set; the caller ignores it when the item has moved on.
#pragma once
#include <stdbool.h>
#include <stdlib.h>

typedef struct {
    double due;
    int item, state;
} Timer;

typedef struct {
    double delay_s;
    Timer *timers;
    size_t head, tail, capacity;
} TimerQueue;

// RFC 3261 §17.1.2.2: T1 doubling up to T2. After the last one the request has failed.
enum { RESENDS = 6 };
static TimerQueue resends[RESENDS] = {
    {.delay_s = 0.5}, {.delay_s = 1}, {.delay_s = 2}, {.delay_s = 4}, {.delay_s = 4}, {.delay_s = 4}};

static inline void timer_set(TimerQueue *q, double now, int item, int state) {
    if (q->head == q->tail) q->head = q->tail = 0;
    if (q->tail == q->capacity) {
        q->capacity = q->capacity ? 2 * q->capacity : 1024;
        q->timers = realloc(q->timers, q->capacity * sizeof *q->timers);
    }
    q->timers[q->tail++] = (Timer){now + q->delay_s, item, state};
}

static inline bool timer_pending(const TimerQueue *q) {
    return q->head < q->tail;
}

static inline bool timer_due(TimerQueue *q, double now, Timer *timer) {
    if (!timer_pending(q) || q->timers[q->head].due > now) return false;
    *timer = q->timers[q->head++];
    return true;
}
