/* Writes the captures and labels of io_captures.h into the folder given; the script tests start from them. */
#include <stdio.h>
#include "io/io_captures.h"

int main(int argc, char **argv) {
    if (argc != 2)
        return 2;
    status st = io_make_captures(argv[1]);
    if (st != ST_OK)
        fprintf(stderr, "%s\n", status_message());
    return status_exit_code(st);
}
