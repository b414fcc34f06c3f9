/* The observer's state machine of a conversation (see connection_priv.h). */
#include <string.h>
#include "packet/connection_priv.h"

/* Farther ahead than the largest window (RFC 7323: 2^30) is not a lost packet but a wrong number. */
enum { FARTHEST = 1 << 30 };

void connection_start(connection_side *s, uint32_t next, uint32_t tsval) {
    memset(s, 0, sizeof *s);
    s->next = next;
    s->nstamps = 1;
    s->stamp[0] = tsval;
}

int connection_index(const connection_side *s, uint32_t number) {
    uint32_t back = s->next - number;
    unsigned low = 0, high = s->nboundaries; /* boundaries descend: how far back they are ascends */
    if (back == 0)
        return 0;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (s->next - s->boundary[middle] < back)
            low = middle + 1;
        else
            high = middle;
    }
    return low < s->nboundaries && s->boundary[low] == number ? (int)low + 1 : -1;
}

uint32_t connection_number(const connection_side *s, unsigned index) {
    return index >= 1 && index <= s->nboundaries ? s->boundary[index - 1] : s->next;
}

/* Make room at `at`; the oldest boundary is forgotten where there is none. at < CONNECTION_BOUNDARIES. */
static void open_slot(connection_side *s, unsigned at) {
    if (s->nboundaries < CONNECTION_BOUNDARIES)
        s->nboundaries++;
    size_t n = s->nboundaries - 1u - at;
    memmove(s->boundary + at + 1, s->boundary + at, n * sizeof *s->boundary);
    memmove(s->gap + at + 1, s->gap + at, n * sizeof *s->gap);
}

static void advance(connection_side *s, uint32_t to, bool gap) {
    open_slot(s, 0);
    s->boundary[0] = s->next;
    s->gap[0] = gap;
    s->next = to;
    while (s->nboundaries > 0 && to - s->boundary[s->nboundaries - 1] > FARTHEST)
        s->nboundaries--; /* so old that its number has no order any more */
}

/* A boundary inside what is already known: splits the stretch that it falls into. */
static void insert_boundary(connection_side *s, uint32_t number) {
    uint32_t back = s->next - number;
    if (back == 0 || back > FARTHEST)
        return;
    unsigned at = 0;
    while (at < s->nboundaries && s->next - s->boundary[at] < back)
        at++;
    if (at == CONNECTION_BOUNDARIES || (at < s->nboundaries && s->boundary[at] == number))
        return;
    bool gap = at < s->nboundaries && s->gap[at]; /* below the oldest boundary nothing is known to miss */
    open_slot(s, at);
    s->boundary[at] = number;
    s->gap[at] = gap;
}

/* The bytes of [from, to) are there. */
static void fill(connection_side *s, uint32_t from, uint32_t to) {
    uint32_t above = s->next;
    if (memchr(s->gap, true, s->nboundaries) == NULL) /* nearly always, and quicker than a walk */
        return;
    for (unsigned i = 0; i < s->nboundaries && (int32_t)(above - from) > 0; i++) {
        if ((int32_t)(above - to) <= 0 && (int32_t)(s->boundary[i] - from) >= 0)
            s->gap[i] = false;
        above = s->boundary[i];
    }
}

void connection_sent(connection_side *s, uint32_t seq, uint32_t npayload, unsigned flags) {
    if (flags & TCP_RST)
        return;
    if (flags & TCP_SYN && connection_index(s, seq) < 0) {
        s->nboundaries = 0;
        s->fin = false;
        s->next = seq;
    }
    uint32_t ahead = seq - s->next, behind = s->next - seq;
    if (ahead > FARTHEST && behind > FARTHEST)
        return;
    uint32_t length = npayload + !!(flags & TCP_SYN) + !!(flags & TCP_FIN), end = seq + length;
    if (ahead != 0 && ahead <= FARTHEST)
        advance(s, seq, true);
    if (length > 0) {
        insert_boundary(s, seq);
        if (end - s->next - 1 < FARTHEST)
            advance(s, end, false);
        else
            insert_boundary(s, end);
        fill(s, seq, end);
    }
    if (flags & TCP_FIN && !s->fin) {
        s->fin = true;
        s->after_fin = end;
    }
}

void connection_acked(connection_side *s, uint32_t ack) {
    uint32_t ahead = ack - s->next, behind = s->next - ack;
    if (ahead > FARTHEST && behind > FARTHEST)
        return;
    if (ahead != 0 && ahead <= FARTHEST)
        advance(s, ack, false);
    else
        insert_boundary(s, ack);
    if (s->nboundaries > 0)
        fill(s, s->boundary[s->nboundaries - 1], ack);
}

void connection_rewind(connection_side *s, uint32_t number) {
    unsigned n = 0;
    while (n < s->nboundaries && (int32_t)(s->boundary[n] - number) >= 0)
        n++;
    s->nboundaries -= n;
    memmove(s->boundary, s->boundary + n, s->nboundaries * sizeof *s->boundary);
    memmove(s->gap, s->gap + n, s->nboundaries * sizeof *s->gap);
    s->next = number;
}

void connection_meet(connection *c, unsigned dir, uint32_t seq, uint32_t ack, unsigned flags) {
    if (!c->known[dir]) {
        connection_start(&c->side[dir], seq, 0);
        c->known[dir] = true;
    }
    if (!c->known[!dir] && flags & TCP_ACK) {
        connection_start(&c->side[!dir], ack, 0);
        c->known[!dir] = true;
    }
}

void connection_pass(connection *c, unsigned dir, uint32_t seq, uint32_t ack, uint32_t npayload, unsigned flags) {
    connection_sent(&c->side[dir], seq, npayload, flags);
    if (flags & TCP_ACK)
        connection_acked(&c->side[!dir], ack);
}

bool connection_ahead(const connection_side *s, uint32_t number) {
    return number - s->next <= FARTHEST;
}

bool connection_keep_alive(const connection_side *s, uint32_t seq, uint32_t npayload, unsigned flags) {
    return seq + 1 == s->next && npayload <= 1 && !(flags & (TCP_SYN | TCP_FIN | TCP_RST));
}

bool connection_after_fin(const connection_side *s, uint32_t seq, uint32_t npayload) {
    return s->fin && npayload > 0 && (int32_t)(seq + npayload + 1 - s->after_fin) > 0;
}

int connection_stamp_index(const connection_side *s, uint32_t tsval) {
    for (unsigned i = 0; i < s->nstamps; i++)
        if (s->stamp[i] == tsval)
            return (int)i;
    return -1;
}

void connection_stamped(connection_side *s, uint32_t tsval) {
    if (s->stamp[0] == tsval)
        return;
    if (s->nstamps < CONNECTION_STAMPS)
        s->nstamps++;
    memmove(s->stamp + 1, s->stamp, (s->nstamps - 1u) * sizeof *s->stamp);
    s->stamp[0] = tsval;
}

typedef struct stretch {
    uint32_t left, right;
    bool received;
} stretch;

/* Runs of received stretches that do not touch ack, highest first; returns how many there are, writes at most n. */
static unsigned blocks(const stretch *part, unsigned nparts, uint32_t ack, unsigned n, uint32_t *edges) {
    unsigned found = 0;
    for (unsigned i = 0; i < nparts;) {
        if (!part[i].received) {
            i++;
            continue;
        }
        uint32_t right = part[i].right;
        while (i + 1 < nparts && part[i + 1].received)
            i++;
        if (part[i].left != ack) {
            if (found < n) {
                edges[2 * found] = part[i].left;
                edges[2 * found + 1] = right;
            }
            found++;
        }
        i++;
    }
    return found;
}

unsigned connection_sack(const connection_side *s, uint32_t ack, unsigned n, uint32_t edges[2 * SACK_BLOCKS]) {
    stretch part[CONNECTION_BOUNDARIES] = {{.left = 0}};
    unsigned nparts = 0;
    uint32_t above = s->next;
    for (unsigned i = 0; i < s->nboundaries && (int32_t)(s->boundary[i] - ack) >= 0; i++) {
        part[nparts++] = (stretch){.left = s->boundary[i], .right = above, .received = !s->gap[i]};
        above = s->boundary[i];
    }
    if (n > SACK_BLOCKS)
        n = SACK_BLOCKS;
    unsigned found = blocks(part, nparts, ack, n, edges);
    if (found < n && nparts >= 2) { /* the lowest segment is what the receiver waits for */
        part[nparts - 1].received = false;
        found = blocks(part, nparts, ack, n, edges);
    }
    if (found < n) { /* more losses: every second segment from the newest */
        for (unsigned i = 0; i + 1 < nparts; i++)
            part[i].received = i % 2 == 0;
        found = blocks(part, nparts, ack, n, edges);
    }
    if (found == 0 && n > 0 && nparts < s->nboundaries && ack - s->boundary[nparts] <= FARTHEST) {
        edges[0] = s->boundary[nparts];
        edges[1] = ack;
        found = 1;
    }
    return found < n ? found : n;
}

void connection_echo_start(connection_echo *e, uint16_t first) {
    memset(e, 0, sizeof *e);
    e->last_request = e->last_reply = (uint16_t)(first - 1);
}

uint16_t connection_echo_expected(const connection_echo *e, unsigned type, unsigned dir) {
    if (type == ICMP_ECHO_REQUEST)
        return (uint16_t)(e->last_request + 1);
    for (unsigned i = 0; i < e->nrequests; i++)
        if (!e->request[i].answered && e->request[i].dir != dir)
            return e->request[i].sequence;
    return (uint16_t)(e->last_reply + 1);
}

void connection_echo_seen(connection_echo *e, unsigned type, unsigned dir, uint16_t sequence) {
    if (type == ICMP_ECHO_REPLY) {
        e->last_reply = sequence;
        for (unsigned i = 0; i < e->nrequests; i++)
            if (e->request[i].dir != dir && e->request[i].sequence == sequence && !e->request[i].answered) {
                e->request[i].answered = true;
                break;
            }
        return;
    }
    e->last_request = sequence;
    if (e->nrequests < CONNECTION_ECHOES)
        e->nrequests++;
    memmove(e->request + 1, e->request, (e->nrequests - 1u) * sizeof *e->request);
    e->request[0].sequence = sequence;
    e->request[0].dir = (uint8_t)dir;
    e->request[0].answered = false;
}

bool connection_echo_answers(const connection_echo *e, unsigned dir, uint16_t sequence) {
    for (unsigned i = 0; i < e->nrequests; i++)
        if (e->request[i].dir != dir && e->request[i].sequence == sequence)
            return true;
    return false;
}
