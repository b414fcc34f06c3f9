/* make_dataset PATH N: the dataset of train_flows.h with N flows of every kind, for the scripts. */
#include "train_flows.h"
#include <stdlib.h>

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    status st = train_dataset(argv[1], strtoull(argv[2], NULL, 10));
    if (st != ST_OK)
        fprintf(stderr, "make_dataset: %s\n", status_message());
    return status_exit_code(st);
}
