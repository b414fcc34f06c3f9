/* A capture of any size for measurements by hand.
 *
 *     repeat_capture OUT.pcap MEGABYTES [CAPTURE...]      default: the captures of data/sample */
#include "bench/repeat.h"

int main(int argc, char **argv) {
    frames f = {0};
    uint64_t megabytes = argc >= 3 ? strtoull(argv[2], NULL, 10) : 0;
    if (megabytes == 0) {
        fprintf(stderr, "usage: repeat_capture OUT.pcap MEGABYTES [CAPTURE...]\n");
        return 2;
    }
    frames_read_all(&f, argc - 3, argv + 3);
    frames_write(&f, argv[1], UINT64_MAX, megabytes * 1000000);
    free(f.item);
    free(f.bytes);
    return 0;
}
