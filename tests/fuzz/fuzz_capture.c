/* Capture files: any bytes as a pcap, pcapng or gzip file; every record is read to its last byte and decoded. */
#include "fuzz/fuzz.h"
#include "io/capture.h"
#include "packet/flow.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    char path[32];
    capture *c = NULL;
    int fd = fuzz_file(data, n, path);
    if (capture_open(&c, path) == ST_OK) {
        capture_record r;
        packet p;
        bool end = false;
        unsigned sum = 0;
        static volatile unsigned seen; /* so that every byte is read */
        while (capture_next(c, &r, &end) == ST_OK && !end) {
            FUZZ_CHECK(r.wire_len >= r.caplen);
            for (size_t i = 0; i < r.caplen; i++)
                sum += r.bytes[i];
            if (packet_decode(r.link_type, r.bytes, r.caplen, r.wire_len, &p) == SKIP_NONE)
                sum += flow_key_of(&p).port[0];
        }
        seen = sum;
        FUZZ_CHECK(capture_damage(c) == NULL || *capture_damage(c) != '\0');
        capture_close(&c);
    }
    close(fd);
    return 0;
}
