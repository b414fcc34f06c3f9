/* Sums in a fixed tree: which blocks are added when. See tree.h. */
#include "dist/tree.h"

#include "base/status.h"

/* Number of nodes of a level. */
static uint64_t width(uint64_t nleaves, unsigned level) {
    return ((nleaves - 1) >> level) + 1;
}

size_t tree_push(tree_stack *s, tree_node node) {
    size_t merges = 0;
    ASSERT(s->n < TREE_DEPTH);
    for (;;) {
        uint64_t nodes = width(s->nleaves, node.level);
        ASSERT(node.index < nodes);
        if (nodes == 1)
            break; /* the root */
        if (node.index % 2 == 1) {
            const tree_node *below = s->n > 0 ? &s->node[s->n - 1] : NULL;
            if (below == NULL || below->level != node.level || below->index + 1 != node.index)
                break;
            s->n--;
            merges++;
        } else if (node.index + 1 < nodes) {
            break; /* its right neighbour is still to come */
        }
        node = (tree_node){node.index / 2, node.level + 1};
    }
    s->node[s->n++] = node;
    return merges;
}

void tree_share(uint64_t nleaves, int rank, int size, uint64_t *first, uint64_t *end) {
    *first = nleaves * (uint64_t)rank / (uint64_t)size;
    *end = nleaves * ((uint64_t)rank + 1) / (uint64_t)size;
}

size_t tree_nodes(uint64_t nleaves, uint64_t first, uint64_t end, tree_stack *s) {
    tree_stack own;
    size_t most = 0;
    if (s == NULL)
        s = &own;
    s->nleaves = nleaves;
    s->n = 0;
    for (uint64_t i = first; i < end; i++) {
        most = s->n + 1 > most ? s->n + 1 : most;
        tree_push(s, (tree_node){i, 0});
    }
    return most;
}
