/* A YAML file as configuration: nested maps give dotted names, leaves are scalars, lists of scalars or maps of scalars.
 *
 * libyaml's document interface keeps the line of every node. Anchors make the document a graph; the walk still ends,
 * because it only goes down where a section of the table lies, and sections are finite. */
#include "base/config_priv.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/file.h"

enum { FILE_LIMIT = 1 << 20 };

static config_origin origin_of(const yaml_node_t *node) {
    return (config_origin){.source = FROM_FILE, .line = (long)node->start_mark.line + 1};
}

static status fail_at(const config *c, const yaml_node_t *node, const char *name, const char *text) {
    return FAIL(ST_USAGE, "%s:%ld: %s%s%s", c->path, origin_of(node).line, name, *name ? ": " : "", text);
}

/* The text of a scalar node; owned by the document. */
static status scalar_text(const config *c, const yaml_node_t *node, const char *name, const char **text) {
    if (node->type != YAML_SCALAR_NODE)
        return fail_at(c, node, name, "a single value is wanted here");
    *text = (const char *)node->data.scalar.value;
    if (strlen(*text) != node->data.scalar.length)
        return fail_at(c, node, name, "a NUL character in a text");
    return ST_OK;
}

/* `key:` with nothing behind it: the key keeps its default, the section is empty. */
static bool is_null(const yaml_node_t *node) {
    const char *text = (const char *)node->data.scalar.value;
    return node->type == YAML_SCALAR_NODE && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (!*text || strcmp(text, "~") == 0 || strcmp(text, "null") == 0);
}

static status read_list(const config *c, yaml_document_t *document, const yaml_node_t *node, const char *name,
                        text_list *list) {
    for (yaml_node_item_t *item = node->data.sequence.items.start; item < node->data.sequence.items.top; item++) {
        const char *text;
        TRY(scalar_text(c, yaml_document_get_node(document, *item), name, &text));
        TRY(text_list_add(list, text));
    }
    return ST_OK;
}

static status read_map(const config *c, yaml_document_t *document, const yaml_node_t *node, const char *name,
                       text_map *map) {
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key_node = yaml_document_get_node(document, pair->key);
        const char *key, *value;
        TRY(scalar_text(c, key_node, name, &key));
        TRY(scalar_text(c, yaml_document_get_node(document, pair->value), name, &value));
        if (text_map_get(map, key))
            return FAIL(ST_USAGE, "%s:%ld: %s: '%s' is given twice", c->path, origin_of(key_node).line, name, key);
        TRY(text_map_set(map, key, value));
    }
    return ST_OK;
}

static status read_key(config *c, yaml_document_t *document, const yaml_node_t *node, const char *name,
                       config_origin from) {
    config_given given = {0};
    status st = ST_OK;
    if (node->type == YAML_SCALAR_NODE) {
        st = scalar_text(c, node, name, &given.scalar);
    } else if (node->type == YAML_SEQUENCE_NODE) {
        given.form = FORM_LIST;
        st = read_list(c, document, node, name, &given.list);
    } else {
        given.form = FORM_MAP;
        st = read_map(c, document, node, name, &given.map);
    }
    if (st == ST_OK)
        st = config_assign(c, name, &given, from);
    text_list_clear(&given.list);
    text_map_clear(&given.map);
    return st;
}

static status read_section(config *c, yaml_document_t *document, const yaml_node_t *section, const char *prefix);

/* One `name: node` of a section. `key_node` is where messages point. */
static status read_member(config *c, yaml_document_t *document, const yaml_node_t *key_node, const yaml_node_t *node,
                          const char *name) {
    config_origin from = origin_of(key_node);
    if (config_find(c, name).key < c->nkeys)
        return is_null(node) ? ST_OK : read_key(c, document, node, name, from);
    if (!config_is_section(c, name))
        return config_unknown(c, name, from);
    if (is_null(node))
        return ST_OK;
    if (node->type != YAML_MAPPING_NODE)
        return fail_at(c, key_node, name, "a section, which takes keys below it and no value of its own");
    return read_section(c, document, node, name);
}

static status read_section(config *c, yaml_document_t *document, const yaml_node_t *section, const char *prefix) {
    for (yaml_node_pair_t *pair = section->data.mapping.pairs.start; pair < section->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key_node = yaml_document_get_node(document, pair->key);
        const char *key;
        TRY(scalar_text(c, key_node, prefix, &key));
        char *name = *prefix ? text_format("%s.%s", prefix, key) : text_copy(key);
        status st = read_member(c, document, key_node, yaml_document_get_node(document, pair->value), name);
        free(name);
        TRY(st);
    }
    return ST_OK;
}

static status parser_error(const config *c, const yaml_parser_t *parser) {
    if (parser->error == YAML_MEMORY_ERROR)
        return FAIL(ST_MEMORY, "%s: no memory to read it", c->path);
    unsigned long line = parser->problem_mark.line + 1;
    if (parser->error == YAML_READER_ERROR)
        return FAIL(ST_USAGE, "%s: byte %zu: not YAML: %s", c->path, parser->problem_offset, parser->problem);
    return FAIL(ST_USAGE, "%s:%lu: not YAML: %s", c->path, line, parser->problem ? parser->problem : "syntax error");
}

static status read_document(config *c, yaml_parser_t *parser) {
    yaml_document_t document;
    if (!yaml_parser_load(parser, &document))
        return parser_error(c, parser);
    yaml_node_t *root = yaml_document_get_root_node(&document);
    status st = ST_OK;
    if (root && root->type == YAML_MAPPING_NODE)
        st = read_section(c, &document, root, "");
    else if (root && !is_null(root))
        st = fail_at(c, root, "", "the file must be a map of keys");
    yaml_document_delete(&document);
    TRY(st);
    if (!root)
        return ST_OK;

    if (!yaml_parser_load(parser, &document))
        return parser_error(c, parser);
    yaml_node_t *second = yaml_document_get_root_node(&document);
    if (second)
        st = fail_at(c, second, "", "a second document; an experiment is one");
    yaml_document_delete(&document);
    return st;
}

status config_read_yaml(config *c) {
    char *bytes;
    size_t nbytes;
    TRY(file_read(c->path, FILE_LIMIT, &bytes, &nbytes));
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        free(bytes);
        return FAIL(ST_MEMORY, "%s: no memory to read it", c->path);
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)bytes, nbytes);
    status st = read_document(c, &parser);
    yaml_parser_delete(&parser);
    free(bytes);
    return st;
}
