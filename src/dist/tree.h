/* A sum whose additions do not depend on who adds: nleaves blocks are added in a fixed binary tree over their numbers.
 *
 * Node (level, index) is the sum of leaves index * 2^level up to (index + 1) * 2^level, or to the last leaf. It is its
 * left half plus its right half, or the left half alone where the right one has no leaves. Whoever holds neighbouring
 * leaves adds them up to the largest whole nodes, and passes these on: the float additions are the same ones. */
#ifndef ND_DIST_TREE_H
#define ND_DIST_TREE_H

#include <stddef.h>
#include <stdint.h>

enum { TREE_DEPTH = 128 };

typedef struct tree_node {
    uint64_t index;
    unsigned level;
} tree_node;

/* Nodes from left to right, as whole as what has been put in allows. */
typedef struct tree_stack {
    uint64_t nleaves;
    size_t n;
    tree_node node[TREE_DEPTH];
} tree_stack;

/* Put the next node to the right on top. Returns the number of merges that follow: each adds the block of the topmost
 * entry to that of the entry below, and takes the topmost away. The stack itself has done them already. */
size_t tree_push(tree_stack *s, tree_node node);

/* The leaves first .. end-1 of a rank: neighbouring ones, nearly the same number for all. */
void tree_share(uint64_t nleaves, int rank, int size, uint64_t *first, uint64_t *end);
/* The whole nodes of these leaves (fills s, which may be NULL), and the most entries held on the way. */
size_t tree_nodes(uint64_t nleaves, uint64_t first, uint64_t end, tree_stack *s);

#endif
