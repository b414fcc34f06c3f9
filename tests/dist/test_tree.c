/* The fixed tree of a sum: cut at any places among any number of holders, the same additions. */
#include "base/base_test.h"

#include "dist/tree.h"

enum { MOST = 40 };

/* The sum of one node by its definition. */
static float node_sum(const float *leaf, uint64_t nleaves, tree_node node) {
    if (node.level == 0)
        return leaf[node.index];
    tree_node left = {2 * node.index, node.level - 1}, right = {2 * node.index + 1, node.level - 1};
    float sum = node_sum(leaf, nleaves, left);
    return right.index << right.level < nleaves ? sum + node_sum(leaf, nleaves, right) : sum;
}

static float root_sum(const float *leaf, uint64_t nleaves) {
    unsigned level = 0;
    while ((uint64_t)1 << level < nleaves)
        level++;
    return node_sum(leaf, nleaves, (tree_node){0, level});
}

static void push(tree_stack *s, float *held, tree_node node, float value) {
    size_t top = s->n;
    held[top] = value;
    for (size_t merges = tree_push(s, node); merges > 0; merges--, top--)
        held[top - 1] += held[top];
}

/* Sizes differ so much that every other order of additions shows. */
static void fill(float *leaf, uint64_t n) {
    for (uint64_t i = 0; i < n; i++)
        leaf[i] = (i % 3 == 1 ? -1.0f : 1.0f) / (float)(i + 3) * (i % 4 == 2 ? 1e5f : 1);
}

static void check(uint64_t nleaves, int size) {
    float leaf[MOST], held[TREE_DEPTH], own[TREE_DEPTH];
    tree_stack all = {.nleaves = nleaves};
    uint64_t next = 0;
    fill(leaf, nleaves);
    for (int rank = 0; rank < size; rank++) {
        tree_stack mine = {.nleaves = nleaves}, told;
        uint64_t first, end;
        tree_share(nleaves, rank, size, &first, &end);
        assert_true(first == next && end > first && end - first <= nleaves / (uint64_t)size + 1);
        next = end;
        size_t most = tree_nodes(nleaves, first, end, &told), held_most = 0;
        for (uint64_t i = first; i < end; i++) {
            held_most = mine.n + 1 > held_most ? mine.n + 1 : held_most;
            push(&mine, own, (tree_node){i, 0}, leaf[i]);
        }
        assert_int_equal(most, held_most);
        assert_int_equal(mine.n, told.n);
        for (size_t k = 0; k < mine.n; k++) {
            assert_true(mine.node[k].index == told.node[k].index && mine.node[k].level == told.node[k].level);
            push(&all, held, mine.node[k], own[k]);
        }
    }
    assert_true(next == nleaves);
    assert_int_equal(all.n, 1);
    float wanted = root_sum(leaf, nleaves);
    assert_memory_equal(held, &wanted, sizeof wanted);
}

static void any_cut_gives_the_same_sum(void **state) {
    for (uint64_t nleaves = 1; nleaves <= MOST; nleaves++)
        for (int size = 1; size <= (int)nleaves; size++)
            check(nleaves, size);
}

/* The check above can fail: another tree gives another sum. */
static void order_shows(void **state) {
    float leaf[MOST], plain = 0;
    fill(leaf, MOST);
    for (int i = 0; i < MOST; i++)
        plain += leaf[i];
    assert_true(plain != root_sum(leaf, MOST));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_cut_gives_the_same_sum), cmocka_unit_test(order_shows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
