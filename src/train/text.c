/* The text that conditions each sample: its label's prompt, or the null prompt where it was dropped or there is none.
 */
#include "train/trainer.h"
#include <string.h>

status text_embed(trainer *t) {
    size_t width = model_text_width(t->model), nlabels = t->data->nlabels;
    if (nlabels > 0)
        TRY(model_embed_text(t->model, nlabels, (const char *const *)t->data->prompt, t->text));
    nn_begin(t->session, false);
    tensor *null_text = model_null_text(t->session, t->model);
    TRY(nn_status(t->session));
    memcpy(t->text + nlabels * width, null_text->data, width * sizeof(float));
    return ST_OK;
}

tensor *text_embedded(trainer *t) {
    const batch *b = &t->batch;
    size_t width = model_text_width(t->model);
    for (size_t i = 0; i < b->n; i++) {
        size_t row = b->label[i] < 0 ? t->data->nlabels : (size_t)b->label[i];
        memcpy(t->sample_text + i * width, t->text + row * width, width * sizeof(float));
    }
    return nn_input(t->session, 2, (size_t[]){b->n, width}, t->sample_text);
}

tensor *text_on_tape(trainer *t) {
    const batch *b = &t->batch;
    size_t width = model_text_width(t->model), nlabels = t->data->nlabels, nprompts = 0;
    for (size_t label = 0; label < nlabels; label++) {
        bool used = false;
        for (size_t i = 0; i < b->n; i++)
            used = used || b->label[i] == (int32_t)label;
        t->prompt_row[label] = (int32_t)nprompts;
        if (used)
            t->prompts[nprompts++] = t->data->prompt[label];
    }
    for (size_t i = 0; i < b->n; i++)
        t->sample_row[i] = b->label[i] < 0 ? (int32_t)nprompts : t->prompt_row[b->label[i]];

    nn *s = t->session;
    /* The null prompt after the encoder: its gradient is then complete before the encoder's backward pass begins. */
    tensor *prompts = nprompts > 0 ? model_embed_text_tape(s, t->model, nprompts, t->prompts) : NULL;
    tensor *rows = model_null_text(s, t->model);
    if (nprompts > 0) {
        /* Rows one under the other are one long row side by side. */
        prompts = nn_view(s, prompts, 2, (size_t[]){1, nprompts * width});
        rows = nn_view(s, op_concat(s, prompts, rows), 2, (size_t[]){nprompts + 1, width});
    }
    return op_rows(s, rows, t->sample_row, b->n);
}
