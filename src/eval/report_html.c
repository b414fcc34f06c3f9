/* The report as one page that needs nothing else: style sheet, charts and pictures are inside, and no script. */
#include "eval/report_priv.h"

#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/memory.h"

static const char style_colours[] =
    ":root{color-scheme:light dark;--paper:#fdfdfc;--ink:#1d2530;--soft:#5c6876;--rule:#dfe3e8;--band:#f3f5f7;"
    "--accent:#1f6feb;--mark:#fff6dc;--mark-ink:#7a5600;--miss:#c8442e;"
    "--c0:#1f6feb;--c1:#12855a;--c2:#d1570b;--c3:#8e44ad;--c4:#c2185b;--c5:#00838f;--c6:#7a6a00;--c7:#5d4037}\n"
    "@media(prefers-color-scheme:dark){:root{--paper:#14181d;--ink:#e4e8ed;--soft:#98a4b2;--rule:#2d353f;"
    "--band:#1b2128;--accent:#6aa8ff;--mark:#33290f;--mark-ink:#f0cd7a;--miss:#ff7b62;"
    "--c0:#6aa8ff;--c1:#4ecb96;--c2:#ff9f5a;--c3:#c792ea;--c4:#ff7eb0;--c5:#4dd0e1;--c6:#d9c74f;--c7:#c8a090}}\n";

static const char style_page[] =
    "*{box-sizing:border-box}html{scroll-behavior:smooth}\n"
    "body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.55 system-ui,-apple-system,'Segoe UI',"
    "Roboto,'Helvetica Neue',sans-serif}\n"
    ".page{display:grid;grid-template-columns:minmax(0,1fr);max-width:1360px;margin:0 auto;padding:0 20px 80px}\n"
    "header{padding:40px 0 12px}h1{font-size:30px;line-height:1.2;margin:0;letter-spacing:-.01em}\n"
    "h2{font-size:22px;margin:52px 0 6px;padding-top:14px;border-top:2px solid var(--ink)}\n"
    "h3{font-size:16px;margin:30px 0 8px}h2+p{margin-top:0}p{max-width:78ch;color:var(--soft);margin:6px 0 14px}\n"
    "a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}\n"
    "nav{padding:12px 0;font-size:14px}nav ol{list-style:none;margin:0;padding:0}nav>ol{columns:2}\n"
    "nav li{break-inside:avoid}nav li "
    "li{padding-left:14px;overflow:hidden;white-space:nowrap;text-overflow:ellipsis}nav li li "
    "a{color:var(--soft)}nav>ol>li{margin-bottom:10px}\n"
    "nav b{font-size:12px;text-transform:uppercase;letter-spacing:.08em;color:var(--soft)}\n"
    "@media(min-width:1100px){.page{grid-template-columns:230px minmax(0,1fr);column-gap:44px}header{grid-column:1/3}"
    "nav{position:sticky;top:0;max-height:100vh;overflow:auto;align-self:start;padding-top:24px}nav>ol{columns:1}}\n"
    "main>section:first-child h2{margin-top:16px}h2,h3{scroll-margin-top:12px}\n"
    "@media print{nav{display:none}.page{display:block}.scroll{overflow:visible}details{display:none}}\n";

static const char style_tables[] =
    ".scroll{overflow-x:auto;width:fit-content;max-width:100%;border:1px solid var(--rule);border-radius:8px}\n"
    "table{border-collapse:separate;border-spacing:0;font-size:13.5px;font-variant-numeric:tabular-nums}"
    "\n"
    "th,td{padding:5px 12px;text-align:right;white-space:nowrap;border-bottom:1px solid var(--rule)}\n"
    "tbody tr:last-child>*{border-bottom:0}tbody tr:hover>*{background:var(--band)}\n"
    "th:first-child{position:sticky;left:0;text-align:left;background:var(--paper);font-weight:500;z-index:1;"
    "border-right:1px solid var(--rule)}\n"
    "thead th,thead th:first-child{background:var(--band);font-weight:600;vertical-align:bottom;white-space:normal;"
    "line-height:1.3}\n"
    "th.text{text-align:left}td.text{white-space:normal;min-width:9ch;text-align:left}td.none{color:var(--soft)}td "
    "i{font-style:normal;color:var(--soft)}\n"
    "tr.published>*,tr.published>th:first-child{background:var(--mark)}\n"
    ".badge{display:block;font-size:11px;font-weight:400;color:var(--mark-ink)}\n"
    "ol.notes{font-size:12.5px;color:var(--soft);margin:6px 0 0;padding-left:26px}\n"
    "details{margin:6px 0 0;font-size:13px;color:var(--soft)}summary{cursor:pointer}\n"
    "pre{overflow-x:auto;background:var(--band);border-radius:6px;padding:10px 12px;margin:6px 0;color:var(--ink)}\n"
    "sup{font-size:10px;line-height:0}\n";

static const char style_figures[] =
    ".figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:18px;margin:18px 0}\n"
    ".figures.wide{grid-template-columns:minmax(0,1fr)}\n"
    "figure{margin:0;padding:12px 14px;border:1px solid var(--rule);border-radius:8px;min-width:0}\n"
    "figcaption{font-size:14px;font-weight:600;margin-bottom:6px}figure img{width:100%;display:block;border-radius:4px;"
    "image-rendering:auto}\n"
    "svg.chart,svg.matrix{width:100%;height:auto;display:block}svg.chart{max-width:720px;overflow:visible}\n"
    ".axis{fill:none;stroke:var(--soft)}.grid{stroke:var(--rule);stroke-width:1}\n"
    ".tick{font-size:11px;fill:var(--soft)}.label{font-size:12px;fill:var(--soft)}\n"
    ".line{fill:none;stroke-width:2;stroke-linejoin:round}\n"
    ".s0{stroke:var(--c0)}.s1{stroke:var(--c1)}.s2{stroke:var(--c2)}.s3{stroke:var(--c3)}.s4{stroke:var(--c4)}"
    ".s5{stroke:var(--c5)}.s6{stroke:var(--c6)}.s7{stroke:var(--c7)}.s1,.s3{stroke-dasharray:6 3}\n"
    ".legend{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:12.5px;color:var(--soft)}\n"
    ".legend span{display:inline-flex;align-items:center;gap:6px}.legend svg{width:22px;height:8px}\n"
    ".hit{fill:var(--c0)}.miss{fill:var(--miss)}.count{font-size:12px;fill:var(--ink)}.count.strong{fill:#fff}\n";

void html_text(const char *text, FILE *to) {
    for (; *text; text++) {
        switch (*text) {
        case '&':
            fputs("&amp;", to);
            break;
        case '<':
            fputs("&lt;", to);
            break;
        case '>':
            fputs("&gt;", to);
            break;
        case '"':
            fputs("&quot;", to);
            break;
        case '\'':
            fputs("&#39;", to);
            break;
        default:
            fputc(*text, to);
        }
    }
}

static void element(const char *tag, const char *text, FILE *to) {
    fprintf(to, "<%s>", tag);
    html_text(text, to);
    fprintf(to, "</%s>", tag);
}

/* Anchors: the section's id, and its id with the item's number, which is unique whatever the parts chose. */
static void anchor(const report_section_data *s, size_t item, FILE *to) {
    html_text(s->id, to);
    if (item)
        fprintf(to, "-%zu", item);
}

/* ---- tables ---- */

static void put_cell(const report_table *t, const report_row_data *row, size_t column, size_t nreasons,
                     const char *const *reasons, FILE *to) {
    char buffer[CELL_TEXT_MAX];
    if (column - 1 >= row->ncells) {
        fputs("<td class=\"none\">–</td>", to);
        return;
    }
    const report_cell *c = &row->cells[column - 1];
    size_t why = report_reason_index(c, nreasons, reasons);
    if (c->kind == CELL_NOTHING && why) {
        fputs("<td class=\"none\" title=\"", to);
        html_text(c->text, to);
        fprintf(to, "\">–<sup>%zu</sup></td>", why);
    } else if (c->kind == CELL_NOTHING) {
        fputs("<td class=\"none\">–</td>", to);
    } else {
        fputs(c->kind == CELL_TEXT ? "<td class=\"text\">" : "<td>", to);
        html_text(report_cell_text(c, report_digits(t, column), buffer), to);
        fputs("</td>", to);
    }
}

static void put_row(const report_table *t, const report_row_data *row, size_t nreasons, const char *const *reasons,
                    FILE *to) {
    fputs(row->source ? "<tr class=\"published\"><th scope=\"row\">" : "<tr><th scope=\"row\">", to);
    html_text(row->name, to);
    if (row->source) {
        fputs("<span class=\"badge\">published: ", to);
        html_text(row->source, to);
        fputs("</span>", to);
    }
    fputs("</th>", to);
    for (size_t c = 1; c < t->ncolumns; c++)
        put_cell(t, row, c, nreasons, reasons, to);
    fputs("</tr>\n", to);
}

static bool is_text_column(const report_table *t, size_t column) {
    for (size_t i = 0; i < t->nrows; i++)
        if (column > 0 && column - 1 < t->rows[i].ncells && t->rows[i].cells[column - 1].kind != CELL_NOTHING)
            return t->rows[i].cells[column - 1].kind == CELL_TEXT;
    return false;
}

static void put_table(const report_table *t, FILE *to) {
    const char **reasons;
    size_t nreasons = report_reasons(t, &reasons);
    fputs("<div class=\"scroll\"><table><thead><tr>", to);
    for (size_t c = 0; c < t->ncolumns; c++) {
        fputs(is_text_column(t, c) ? "<th scope=\"col\" class=\"text\">" : "<th scope=\"col\">", to);
        html_text(t->columns[c], to);
        fputs("</th>", to);
    }
    fputs("</tr></thead><tbody>\n", to);
    for (size_t i = 0; i < t->nrows; i++)
        put_row(t, &t->rows[i], nreasons, reasons, to);
    fputs("</tbody></table></div>\n", to);
    if (nreasons) {
        fputs("<ol class=\"notes\">", to);
        for (size_t i = 0; i < nreasons; i++)
            element("li", reasons[i], to);
        fputs("</ol>\n", to);
    }
    if (t->command) {
        fputs("<details><summary>How to repeat this table</summary>", to);
        element("pre", t->command, to);
        fputs("</details>\n", to);
    }
    memory_free(&reasons);
}

/* ---- pictures ---- */

static void put_base64(const unsigned char *b, size_t n, FILE *to) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        unsigned v = (unsigned)b[i] << 16 | (i + 1 < n ? (unsigned)b[i + 1] << 8 : 0) | (i + 2 < n ? b[i + 2] : 0u);
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63], i + 1 < n ? digits[v >> 6 & 63] : '=',
                        i + 2 < n ? digits[v & 63] : '='};
        fwrite(four, 1, sizeof four, to);
    }
}

static status put_picture(const report_item *it, FILE *to) {
    enum { PICTURE_LIMIT = 64 << 20 };
    char *bytes;
    size_t nbytes;
    TRY(file_read(it->picture, PICTURE_LIMIT, &bytes, &nbytes));
    fputs("<img loading=\"lazy\" alt=\"", to);
    html_text(it->title, to);
    fputs("\" src=\"data:image/png;base64,", to);
    put_base64((const unsigned char *)bytes, nbytes, to);
    fputs("\">\n", to);
    free(bytes);
    return ST_OK;
}

/* ---- page ---- */

static status put_figure(const report_section_data *s, size_t i, FILE *to) {
    const report_item *it = &s->items[i];
    status st = ST_OK;
    fputs("<figure id=\"", to);
    anchor(s, i + 1, to);
    fputs("\">", to);
    element("figcaption", it->title, to);
    fputc('\n', to);
    if (it->kind == ITEM_CHART)
        svg_chart(it->chart, it->title, to);
    else if (it->kind == ITEM_MATRIX)
        svg_matrix(it->matrix, it->title, to);
    else
        st = put_picture(it, to);
    fputs("</figure>\n", to);
    return st;
}

/* Figures that follow each other share a grid; pictures are wide, each has a row. */
static status put_section(const report_section_data *s, FILE *to) {
    fputs("<section><h2 id=\"", to);
    anchor(s, 0, to);
    fputs("\">", to);
    html_text(s->title, to);
    fputs("</h2>\n", to);
    element("p", s->text, to);
    fputc('\n', to);
    for (size_t i = 0; i < s->nitems;) {
        item_kind kind = s->items[i].kind;
        if (kind == ITEM_TABLE) {
            fputs("<h3 id=\"", to);
            anchor(s, i + 1, to);
            fputs("\">", to);
            html_text(s->items[i].title, to);
            fputs("</h3>\n", to);
            put_table(s->items[i++].table, to);
            continue;
        }
        fprintf(to, "<div class=\"figures%s\">\n", kind == ITEM_PICTURE ? " wide" : "");
        for (; i < s->nitems && s->items[i].kind == kind; i++)
            TRY(put_figure(s, i, to));
        fputs("</div>\n", to);
    }
    fputs("</section>\n", to);
    return ST_OK;
}

static void put_contents(const report *r, FILE *to) {
    fputs("<nav aria-label=\"Contents\"><b>Contents</b><ol>\n", to);
    for (size_t i = 0; i < r->nsections; i++) {
        const report_section_data *s = &r->sections[i];
        fputs("<li><a href=\"#", to);
        anchor(s, 0, to);
        fputs("\">", to);
        html_text(s->title, to);
        fputs("</a><ol>\n", to);
        for (size_t k = 0; k < s->nitems; k++) {
            if (s->items[k].kind != ITEM_TABLE && k > 0 && s->items[k - 1].kind == s->items[k].kind)
                continue; /* of figures in one grid the first is enough */
            fputs("<li title=\"", to);
            html_text(s->items[k].title, to);
            fputs("\"><a href=\"#", to);
            anchor(s, k + 1, to);
            fputs("\">", to);
            html_text(s->items[k].title, to);
            fputs("</a></li>\n", to);
        }
        fputs("</ol></li>\n", to);
    }
    fputs(r->nvalues ? "<li><a href=\"#values\">Values</a></li>\n</ol></nav>\n" : "</ol></nav>\n", to);
}

static void put_values(const report *r, FILE *to) {
    if (!r->nvalues)
        return;
    fputs("<section><h2 id=\"values\">Values</h2><p>What limits can be put on (eval.fail_on).</p>"
          "<details><summary>All values</summary><div class=\"scroll\"><table><thead><tr><th>name</th><th>value</th>"
          "</tr></thead><tbody>\n",
          to);
    for (size_t i = 0; i < r->nvalues; i++) {
        fputs("<tr>", to);
        element("th", r->values[i].name, to);
        fprintf(to, "<td>%.6g</td></tr>\n", r->values[i].x);
    }
    fputs("</tbody></table></div></details></section>\n", to);
}

status report_write_html(const report *r, FILE *to) {
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n",
          to);
    element("title", r->title, to);
    fprintf(to, "\n<style>\n%s%s%s%s</style></head>\n<body><div class=\"page\"><header>", style_colours, style_page,
            style_tables, style_figures);
    element("h1", r->title, to);
    fputs("</header>\n", to);
    put_contents(r, to);
    fputs("<main>\n", to);
    for (size_t i = 0; i < r->nsections; i++)
        TRY(put_section(&r->sections[i], to));
    put_values(r, to);
    fputs("</main></div></body></html>\n", to);
    return ST_OK;
}
