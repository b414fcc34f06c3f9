/* Tokenizer: words, merges, files, what is cut and what is refused. */
#include "model/fixture.h"
#include "model/tokenizer_priv.h"

static tokenizer *learn(size_t nmerges) {
    tokenizer *t = NULL;
    OK(tokenizer_learn(&t, &(text_list){FIXTURE_PROMPTS, fixture_prompt}, nmerges));
    return t;
}

/* The tokens of a text, joined by blanks, up to the first end token. */
static void tokens_of(const tokenizer *t, const char *text, size_t ntokens, char *out, size_t nbytes) {
    int32_t ids[64];
    size_t end, used = 0;
    assert_true(ntokens <= 64);
    OK(tokenizer_encode(t, text, ntokens, ids, &end));
    assert_int_equal(ids[0], tokenizer_start_id(t));
    assert_true(end >= 1 && end < ntokens);
    out[0] = 0;
    for (size_t i = 1; i < end; i++) {
        assert_int_not_equal(ids[i], tokenizer_end_id(t));
        used += (size_t)snprintf(out + used, nbytes - used, "%s%s", i > 1 ? " " : "", tokenizer_token(t, ids[i]));
        assert_true(used < nbytes);
    }
    for (size_t i = end; i < ntokens; i++)
        assert_int_equal(ids[i], tokenizer_end_id(t));
}

static void words_are_cut_as_clip_does(void **state) {
    static const struct {
        const char *text, *tokens;
    } row[] = {
        {"", ""},
        {" \t\n ", ""},
        {"aB", "a b</w>"},
        {"type-8", "t y p e</w> -</w> 8</w>"},
        {"2048", "2</w> 0</w> 4</w> 8</w>"},
        {"it's", "i t</w> ' s</w>"},
        {"WE'LL go", "w e</w> ' l l</w> g o</w>"},
        {"a!'s", "a</w> ! '</w> s</w>"},
        {"x_y", "x</w> _</w> y</w>"},
        {"data, x", "d a t a</w> ,</w> x</w>"},
        {"<|endoftext|>", "< |</w> e n d o f t e x t</w> | ></w>"},
        {"\xc3\xa9", "\xc3\x83 \xc2\xa9</w>"}, /* bytes 0xc3 0xa9 as the characters U+00C3 U+00A9 */
        {"\x01"
         "a\x7f"
         "b",
         "a</w> b</w>"},
    };
    tokenizer *t = learn(0);
    assert_int_equal(tokenizer_vocabulary(t), 514);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char got[256];
        tokens_of(t, row[i].text, 40, got, sizeof got);
        assert_string_equal(got, row[i].tokens);
    }
    tokenizer_free(&t);
}

static void byte_table_is_clips(void **state) {
    tokenizer *t = learn(0);
    assert_string_equal(tokenizer_token(t, 0), "!");
    assert_string_equal(tokenizer_token(t, 93), "~");
    assert_string_equal(tokenizer_token(t, 94), "\xc2\xa1");
    assert_string_equal(tokenizer_token(t, 187), "\xc3\xbf");
    assert_string_equal(tokenizer_token(t, 188), "\xc4\x80");
    assert_string_equal(tokenizer_token(t, 255), "\xc5\x83");
    assert_string_equal(tokenizer_token(t, 256), "!</w>");
    assert_string_equal(tokenizer_token(t, 512), "<|startoftext|>");
    assert_string_equal(tokenizer_token(t, 513), "<|endoftext|>");
    assert_null(tokenizer_token(t, 514));
    assert_null(tokenizer_token(t, -1));
    tokenizer_free(&t);
}

static void merges_are_learnt_in_order(void **state) {
    char *corpus[] = {(char *)"low low low lower", (char *)"newest newest"};
    tokenizer *t = NULL;
    OK(tokenizer_learn(&t, &(text_list){2, corpus}, 3));
    /* "l o" 4 times; then "lo w</w>" and "w e" 3 times each, in the order of bytes. */
    assert_string_equal(tokenizer_token(t, 512), "lo");
    assert_string_equal(tokenizer_token(t, 513), "low</w>");
    assert_string_equal(tokenizer_token(t, 514), "we");
    char got[64];
    tokens_of(t, "low LOWER newest slow", 32, got, sizeof got);
    assert_string_equal(got, "low</w> lo we r</w> n e we s t</w> s low</w>");
    tokenizer_free(&t);
}

static void learning_stops_when_nothing_is_left(void **state) {
    tokenizer *t = learn(10000), *again = learn(10000);
    assert_int_equal(tokenizer_vocabulary(t), tokenizer_vocabulary(again));
    for (size_t i = 0; i < tokenizer_vocabulary(t); i++)
        assert_string_equal(tokenizer_token(t, (int32_t)i), tokenizer_token(again, (int32_t)i));
    char got[256];
    tokens_of(t, fixture_prompt[0], 16, got, sizeof got);
    assert_string_equal(got, "pixelated</w> network</w> data</w> ,</w> type</w> -</w> 0</w>");
    tokens_of(t, "type-1778", 16, got, sizeof got);
    assert_string_equal(got, "type</w> -</w> 1</w> 7</w> 7</w> 8</w>");
    tokenizer_free(&t);
    tokenizer_free(&again);
    OK(tokenizer_learn(&t, &(text_list){0, NULL}, 5));
    assert_int_equal(tokenizer_vocabulary(t), 514);
    tokenizer_free(&t);
    /* More than could be loaded again is not learnt. */
    FAILS(ST_RANGE, tokenizer_learn(&t, &(text_list){0, NULL}, VOCABULARY_MAX - 513), "tokens");
    assert_null(t);
    OK(tokenizer_learn(&t, &(text_list){0, NULL}, VOCABULARY_MAX - 514));
    tokenizer_free(&t);
}

static void long_texts_are_cut(void **state) {
    tokenizer *t = learn(0);
    char text[2000], got[256];
    memset(text, 'q', sizeof text - 1);
    text[sizeof text - 1] = 0;
    tokens_of(t, text, 6, got, sizeof got);
    assert_string_equal(got, "q q q q");
    tokens_of(t, "1234567", 5, got, sizeof got);
    assert_string_equal(got, "1</w> 2</w> 3</w>");
    tokens_of(t, "x", 2, got, sizeof got);
    assert_string_equal(got, "");
    int32_t id;
    size_t end;
    FAILS(ST_RANGE, tokenizer_encode(t, "x", 1, &id, &end), "1 tokens");
    /* a multi-byte character cut by the limit, and one that the text itself cuts */
    tokens_of(t, "\xe2\x82\xac", 4, got, sizeof got);
    assert_string_equal(got, "\xc3\xa2 \xc4\xa4"); /* 0xe2 -> U+00E2, 0x82 -> U+0124 */
    tokens_of(t, "\xe2\x82", 6, got, sizeof got);
    assert_string_equal(got, "\xc3\xa2 \xc4\xa4</w>");
    tokenizer_free(&t);
}

static void files_round_trip(void **state) {
    char *folder = fixture_folder();
    tokenizer *t = learn(20), *back = NULL;
    OK(tokenizer_save(t, folder));
    OK(tokenizer_load(&back, folder));
    assert_int_equal(tokenizer_vocabulary(t), 534);
    assert_int_equal(tokenizer_vocabulary(back), 534);
    static const char *const texts[] = {"pixelated network data, type-47", "A Video call's", "\xff\xfe \xe2\x82", "",
                                        "networks work on data"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int32_t a[24], b[24];
        size_t end_a, end_b;
        OK(tokenizer_encode(t, texts[i], 24, a, &end_a));
        OK(tokenizer_encode(back, texts[i], 24, b, &end_b));
        assert_int_equal(end_a, end_b);
        assert_memory_equal(a, b, sizeof a);
    }
    tokenizer_free(&t);
    tokenizer_free(&back);
    fixture_folder_free(folder);
}

static void write_text(const char *folder, const char *name, const char *text) {
    char *path = text_format("%s/%s", folder, name);
    OK(file_write(path, text, strlen(text)));
    free(path);
}

static void bad_files_are_named(void **state) {
    char *folder = fixture_folder();
    tokenizer *t = learn(4), *none = NULL;
    FAILS(ST_IO, tokenizer_load(&none, folder), "vocab.json");
    OK(tokenizer_save(t, folder));
    static const struct {
        const char *merges, *message;
    } row[] = {{"#version: 0.2\na\n", "line 2"},
               {"#version: 0.2\na b c\n", "line 2"},
               {"#version: 0.2\n\nq q\n", "line 3"},
               {"#version: 0.2\nnothing here\n", "line 2"}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        write_text(folder, "merges.txt", row[i].merges);
        FAILS(ST_FORMAT, tokenizer_load(&none, folder), "merges.txt", row[i].message);
    }
    static const struct {
        const char *vocabulary, *message;
    } vocabulary[] = {{"{", "line 1"},
                      {"[]", "not an object"},
                      {"{\"a\": 1}", "\"a\""},
                      {"{\"a\": \"x\"}", "\"a\""},
                      {"{\"a\": 0, \"b\": 0}", "\"b\""},
                      {"{\"a\": 0, \"a\": 1}", "duplicate"},
                      {"{\"a\": 0}", "byte 0x00"}};
    for (size_t i = 0; i < sizeof vocabulary / sizeof *vocabulary; i++) {
        write_text(folder, "vocab.json", vocabulary[i].vocabulary);
        FAILS(ST_FORMAT, tokenizer_load(&none, folder), "vocab.json", vocabulary[i].message);
        assert_null(none);
    }
    tokenizer_free(&t);
    fixture_folder_free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_cut_as_clip_does), cmocka_unit_test(byte_table_is_clips),
        cmocka_unit_test(merges_are_learnt_in_order), cmocka_unit_test(learning_stops_when_nothing_is_left),
        cmocka_unit_test(long_texts_are_cut),         cmocka_unit_test(files_round_trip),
        cmocka_unit_test(bad_files_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
