/* A capture that goes on in further files. NAME.pcap while there is one; with the second the first becomes
 * NAME-0001.pcap, so that the names sort as the packets do. Each file appears when it is whole. */
#include "gen/gen_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"

enum { FILE_HEADER = 24, RECORD_HEADER = 16, ETHERNET_HEADER = 14, SNAP_LEN = 262144 };

char *capture_series_name(const char *stem, const char *separator, uint32_t nfiles, uint32_t number) {
    return nfiles == 1 ? text_format("%s.pcap", stem) : text_format("%s%s%04u.pcap", stem, separator, number);
}

/* nfiles: how many there are known to be. Caller frees. */
static char *path_of(const capture_series *s, uint32_t nfiles, uint32_t number) {
    char *name = capture_series_name(s->stem, s->separator, nfiles, number),
         *path = text_format("%s/%s", s->folder, name);
    free(name);
    return path;
}

static status begin(capture_series *s, uint32_t number) {
    char *path = path_of(s, number, number);
    s->number = number;
    s->nbytes = FILE_HEADER;
    status st = capture_create(&s->writer, path, s->link_type, SNAP_LEN);
    free(path);
    return st;
}

status capture_series_open(capture_series *s, const char *folder, const char *stem, const char *separator,
                           int link_type, uint64_t limit) {
    *s = (capture_series){.folder = text_copy(folder),
                          .stem = text_copy(stem),
                          .separator = separator,
                          .link_type = link_type,
                          .limit = limit};
    return begin(s, 1);
}

static status next_file(capture_series *s) {
    TRY(capture_commit(&s->writer));
    if (s->number == 1) {
        char *alone = path_of(s, 1, 1), *first = path_of(s, 2, 1);
        status st =
            rename(alone, first) == 0 ? ST_OK : FAIL(ST_IO, "%s: cannot be renamed: %s", alone, strerror(errno));
        free(alone);
        free(first);
        TRY(st);
    }
    return begin(s, s->number + 1);
}

status capture_series_write(capture_series *s, const packet *p, const uint8_t *payload, bool truncate) {
    uint64_t n =
        RECORD_HEADER + (s->link_type == 1 ? ETHERNET_HEADER : 0) + p->nheader + (truncate ? 0 : packet_payload(p));
    if (s->limit > 0 && s->nbytes > FILE_HEADER && s->nbytes + n > s->limit)
        TRY(next_file(s));
    s->nbytes += n;
    return capture_write_payload(s->writer, p, payload, truncate);
}

status capture_series_commit(capture_series *s) {
    return capture_commit(&s->writer);
}

void capture_series_abandon(capture_series *s) {
    capture_abandon(&s->writer);
    free(s->folder);
    free(s->stem);
    s->folder = s->stem = NULL;
}
