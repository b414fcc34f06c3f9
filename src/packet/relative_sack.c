/* The relative layout: which blocks a selective acknowledgement has (RFC 2018, 2883), so that the row need only say how
 * many.
 *
 * The receiver's latest SACK says more than what the observer saw go missing: its blocks above the acknowledgement
 * number stay, and the segment that came since makes one longer, which then stands first, or is a new one. What came is
 * the other side's latest segment where the capture was taken near the receiver; taken near the sender, everything was
 * sent long ago, and the receiver goes on by one segment a SACK. */
#include "packet/relative_priv.h"

static bool above(uint32_t a, uint32_t b) {
    return (int32_t)(a - b) > 0;
}

/* The next boundary above one; the number itself where there is none. */
static uint32_t next_boundary(const connection_side *s, uint32_t number) {
    int index = connection_index(s, number);
    return index > 0 ? connection_number(s, (unsigned)index - 1) : number;
}

static bool gap_above(const connection_side *s, uint32_t ack) {
    for (unsigned i = 0; i < s->nboundaries && !above(ack, s->boundary[i]); i++)
        if (s->gap[i])
            return true;
    return false;
}

/* The first SACK after a loss: one segment, behind the one that is waited for. */
static unsigned first_block(const connection_side *s, uint32_t ack, uint32_t edges[2 * SACK_BLOCKS]) {
    uint32_t left = next_boundary(s, ack), right = next_boundary(s, left);
    if (gap_above(s, ack) || left == ack || right == left)
        return connection_sack(s, ack, 1, edges);
    edges[0] = left;
    edges[1] = right;
    return 1;
}

static void put_block(uint32_t edges[2 * SACK_BLOCKS], unsigned i, const uint32_t block[2]) {
    edges[2 * i] = block[0];
    edges[2 * i + 1] = block[1];
}

/* As many blocks as before: one grew. */
static void grow_block(const connection_side *s, const uint32_t came[2], relative_blocks *was,
                       uint32_t edges[2 * SACK_BLOCKS]) {
    unsigned grown = 0, n = 1;
    bool found = false;
    for (unsigned i = 0; came[0] != came[1] && i < was->n && !found; i++) {
        uint32_t *block = was->edges + 2 * i;
        found = came[0] == block[1] || came[1] == block[0];
        if (came[0] == block[1])
            block[1] = came[1];
        else if (found)
            block[0] = came[0];
        grown = found ? i : 0;
    }
    if (!found)
        was->edges[1] = next_boundary(s, was->edges[1]);
    put_block(edges, 0, was->edges + 2 * grown);
    for (unsigned i = 0; i < was->n; i++)
        if (i != grown)
            put_block(edges, n++, was->edges + 2 * i);
}

/* One block more than before, above all the others. */
static void new_block(const connection_side *s, const uint32_t came[2], const relative_blocks *was,
                      uint32_t edges[2 * SACK_BLOCKS]) {
    uint32_t top = was->edges[1];
    for (unsigned i = 1; i < was->n; i++)
        if (above(was->edges[2 * i + 1], top))
            top = was->edges[2 * i + 1];
    uint32_t left = next_boundary(s, next_boundary(s, top)), block[2] = {left, next_boundary(s, left)};
    bool latest = came[0] != came[1] && came[1] == s->next && above(came[0], top);
    put_block(edges, 0, latest ? came : block);
    for (unsigned i = 0; i < was->n; i++)
        put_block(edges, i + 1, was->edges + 2 * i);
}

unsigned relative_sack(const relative_state *s, unsigned dir, uint32_t ack, unsigned n,
                       uint32_t edges[2 * SACK_BLOCKS]) {
    const connection_side *peer = &s->side[!dir];
    const uint32_t *came = s->segment[!dir];
    relative_blocks was = {.n = 0};
    if (!above(peer->next, ack)) { /* nothing is missing: a duplicate came */
        if (n != 1 || came[0] == came[1] || above(came[1], ack))
            return connection_sack(peer, ack, n, edges);
        put_block(edges, 0, came);
        return 1;
    }
    for (unsigned i = 0; i < s->sack[dir].n; i++)
        if (above(s->sack[dir].edges[2 * i], ack))
            put_block(was.edges, was.n++, s->sack[dir].edges + 2 * i);
    if (was.n == 0)
        return n == 1 ? first_block(peer, ack, edges) : connection_sack(peer, ack, n, edges);
    if (n > was.n + 1)
        return connection_sack(peer, ack, n, edges);
    if (n == was.n + 1)
        new_block(peer, came, &was, edges);
    else if (n == was.n)
        grow_block(peer, came, &was, edges);
    else
        for (unsigned i = 0; i < n; i++)
            put_block(edges, i, was.edges + 2 * i);
    return n;
}
