/* The dataset reader: any bytes as an HDF5 file. What opens must be readable, or say what is wrong; every packet that
 * is delivered can be viewed. HDF5 wants a file that has a name. */
#include <fcntl.h>
#include "fuzz/fuzz.h"
#include "base/file.h"
#include "io/dataset.h"

enum { FLOWS_MAX = 200 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    const char *folder = getenv("TMPDIR");
    char *path = text_format("%s/fuzz-dataset-%d.h5", folder != NULL ? folder : "/tmp", (int)getpid());
    dataset *d = NULL;
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    FUZZ_CHECK(fd >= 0 && write(fd, data, n) == (ssize_t)n);
    if (dataset_open(&d, path) == ST_OK) {
        flow f;
        flow_init(&f);
        for (size_t i = 0; i < dataset_nflows(d) && i < FLOWS_MAX; i++) {
            if (dataset_read(d, i, 1000, &f) != ST_OK)
                continue;
            const dataset_tables *t = dataset_get_tables(d);
            FUZZ_CHECK(f.npackets > 0 && f.label < (int32_t)t->nlabels && f.run < (int32_t)t->nruns);
            for (size_t k = 0; k < f.npackets; k++) {
                FUZZ_CHECK(packet_has_shape(&f.packets[k]) && f.packets[k].dir <= 1);
                checksum_fill(&f.packets[k], true);
            }
        }
        flow_clear(&f);
        dataset_close(&d);
    }
    close(fd);
    unlink(path);
    free(path);
    return 0;
}
