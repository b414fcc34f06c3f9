/* model_dump_text FOLDER: a fresh model there, and text.json with prompts, token ids and pooled embeddings as we
 * compute them, for reference_clip.py. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"
#include "model/model.h"

enum { PROMPTS = 7, TOKENS = 16, WIDTH = 64 };

static char *prompt[PROMPTS] = {(char *)"pixelated network data, type-0",
                                (char *)"pixelated network data, type-18",
                                (char *)"A Video call, isn't it?",
                                (char *)"",
                                (char *)"  blanks \t and (marks) _-_ 3.14 ",
                                (char *)"chat & voice: 'quoted' we'll they're",
                                (char *)"a prompt that is much longer than the sixteen tokens that there is room for"};

static status write_text(const char *folder, const tokenizer *t, const float *pooled) {
    json_t *prompts = json_array(), *ids = json_array(), *values = json_array();
    for (size_t i = 0; i < PROMPTS; i++) {
        int32_t id[TOKENS];
        size_t end;
        TRY(tokenizer_encode(t, prompt[i], TOKENS, id, &end));
        json_t *row_ids = json_array(), *row = json_array();
        for (size_t k = 0; k < TOKENS; k++)
            json_array_append_new(row_ids, json_integer(id[k]));
        for (size_t k = 0; k < WIDTH; k++)
            json_array_append_new(row, json_real(pooled[i * WIDTH + k]));
        json_array_append_new(prompts, json_string(prompt[i]));
        json_array_append_new(ids, row_ids);
        json_array_append_new(values, row);
    }
    json_t *root = json_pack("{s:o, s:o, s:o}", "prompts", prompts, "ids", ids, "pooled", values);
    char *text = json_dumps(root, JSON_INDENT(1)), *path = text_format("%s/text.json", folder);
    status st = text ? file_write(path, text, strlen(text)) : FAIL(ST_MEMORY, "%s", path);
    free(text);
    free(path);
    json_decref(root);
    return st;
}

static status run(const char *folder) {
    float pooled[PROMPTS * WIDTH];
    model_config config_of_model = {.layout = "relative",
                                    .packets = 8,
                                    .width = 32,
                                    .layers = 2,
                                    .head = 16,
                                    .text_width = WIDTH,
                                    .text_layers = 2,
                                    .text_tokens = TOKENS};
    model *m = NULL;
    tokenizer *t = NULL;
    char *tokens = text_format("%s/tokenizer", folder);
    status st = model_new(&m, &config_of_model, &(text_list){3, prompt}, 60, 3);
    if (st == ST_OK)
        st = model_save(m, folder);
    if (st == ST_OK)
        st = model_embed_text(m, PROMPTS, (const char *const *)prompt, pooled);
    if (st == ST_OK)
        st = tokenizer_load(&t, tokens);
    if (st == ST_OK)
        st = write_text(folder, t, pooled);
    tokenizer_free(&t);
    model_free(&m);
    free(tokens);
    return st;
}

int main(int argc, char **argv) {
    status st = argc == 2 ? run(argv[1]) : FAIL(ST_USAGE, "usage: model_dump_text FOLDER");
    if (st != ST_OK)
        fprintf(stderr, "%s\n", status_message());
    return status_exit_code(st);
}
