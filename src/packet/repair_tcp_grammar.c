/* The nearest list of TCP options (RFC 9293 3.1): dynamic programming over the grammar, by changed bits.
 *
 * A state is a place in the list, the kinds used so far (each comes once) and how many NOPs stand before it (a fourth
 * in a row is what a router leaves of an option that it removed). From there an option of each kind that the segment
 * may have starts, at the cost of the bits of its kind and length; its contents cost nothing, for later rules judge
 * them by value. Or the list ends, and the rest becomes padding. Of equal lists the one with the shorter options
 * wins, so the result depends on nothing but the bytes. */
#include <string.h>
#include "packet/repair_priv.h"

enum { KINDS = 5, MASKS = 1 << KINDS, NOPS = 4, PLACES = TCP_OPTIONS_MAX + 1 };

typedef struct choice {
    uint16_t cost;                    /* so far; UNREACHED */
    uint8_t kind, nbytes, mask, nops; /* the last option, and the state before it */
} choice;
enum { UNREACHED = 0xffff };

typedef struct trellis {
    choice best[PLACES][MASKS][NOPS];
} trellis;

/* What may stand: bit of the mask, kind, length; SACK in each of its lengths. */
static const struct {
    uint8_t bit, kind, nbytes;
    bool syn, plain, rst;
} symbols[] = {
    {1, TCP_OPTION_SACK_PERMITTED, 2, true, false, false},
    {2, TCP_OPTION_WINDOW_SCALE, 3, true, false, false},
    {4, TCP_OPTION_MSS, 4, true, false, false},
    {8, TCP_OPTION_TIMESTAMPS, 10, true, true, true},
    {16, TCP_OPTION_SACK, 10, false, true, false},
    {16, TCP_OPTION_SACK, 18, false, true, false},
    {16, TCP_OPTION_SACK, 26, false, true, false},
    {16, TCP_OPTION_SACK, 34, false, true, false},
};

static unsigned bits(unsigned a, unsigned b) {
    return (unsigned)__builtin_popcount(a ^ b);
}

static void step(trellis *t, unsigned at, unsigned mask, unsigned nops, unsigned kind, unsigned nbytes, unsigned bit,
                 unsigned cost) {
    choice *to = &t->best[at + nbytes][mask | bit][kind == TCP_OPTION_NOP ? nops + 1 : 0];
    unsigned all = t->best[at][mask][nops].cost + cost;
    if (all < to->cost)
        *to = (choice){(uint16_t)all, (uint8_t)kind, (uint8_t)nbytes, (uint8_t)mask, (uint8_t)nops};
}

static void steps_from(trellis *t, const uint8_t *list, unsigned n, unsigned flags, unsigned at, unsigned mask,
                       unsigned nops) {
    if (nops + 1 < NOPS)
        step(t, at, mask, nops, TCP_OPTION_NOP, 1, 0, bits(list[at], TCP_OPTION_NOP));
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        bool may = flags & TCP_SYN ? symbols[i].syn : flags & TCP_RST ? symbols[i].rst : symbols[i].plain;
        if (!may || mask & symbols[i].bit || at + symbols[i].nbytes > n)
            continue;
        unsigned cost = bits(list[at], symbols[i].kind) + bits(list[at + 1], symbols[i].nbytes);
        if (symbols[i].kind == TCP_OPTION_WINDOW_SCALE && list[at + 2] > WINDOW_SCALE_MAX)
            cost += bits(list[at + 2], WINDOW_SCALE_MAX);
        step(t, at, mask, nops, symbols[i].kind, symbols[i].nbytes, symbols[i].bit, cost);
    }
}

/* Write the options that lead to this state; the bytes between are the list's. */
static void write_path(const trellis *t, const uint8_t *list, unsigned at, unsigned mask, unsigned nops,
                       tcp_option_list *out) {
    out->nbytes = at;
    memcpy(out->bytes, list, at);
    while (at > 0) {
        const choice *c = &t->best[at][mask][nops];
        at -= c->nbytes;
        out->bytes[at] = c->kind;
        if (c->nbytes > 1)
            out->bytes[at + 1] = c->nbytes;
        mask = c->mask;
        nops = c->nops;
    }
}

void repair_tcp_grammar(const uint8_t *list, unsigned nbytes, unsigned flags, tcp_option_list *out) {
    trellis t;
    unsigned rest[PLACES] = {0}; /* bits that padding from here on would change */
    unsigned least = UNREACHED, end = 0, end_mask = 0, end_nops = 0;
    memset(t.best, 0xff, sizeof t.best);
    t.best[0][0][0].cost = 0;
    for (unsigned at = nbytes; at > 0; at--)
        rest[at - 1] = rest[at] + bits(list[at - 1], 0);
    for (unsigned at = 0; at <= nbytes; at++)
        for (unsigned mask = 0; mask < MASKS; mask++)
            for (unsigned nops = 0; nops < NOPS; nops++) {
                unsigned cost = t.best[at][mask][nops].cost;
                if (cost == UNREACHED)
                    continue;
                if (cost + rest[at] < least && (nops == 0 || at == nbytes)) { /* NOPs before padding are padding */
                    least = cost + rest[at];
                    end = at;
                    end_mask = mask;
                    end_nops = nops;
                }
                if (at < nbytes)
                    steps_from(&t, list, nbytes, flags, at, mask, nops);
            }
    write_path(&t, list, end, end_mask, end_nops, out);
    tcp_option_pad(out);
}
