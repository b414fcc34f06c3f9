/* Ports of generated flows.
 *
 * The service owns the lower port, and that is one of its class. Some services have clients with a port of their own
 * (DHCP, NetBIOS, multicast DNS), which they keep. Another client's port says nothing about its class but much about
 * the client, and the model has seen those of the training flows: the block of 4096 ports that it chose is kept, where
 * operating systems or media applications take client ports from it, and the port is drawn within. Not drawn are ports
 * on which a protocol analyser expects a protocol, for it would take the client for that service and its payload for
 * malformed. */
#include "gen/gen_priv.h"

/* Port ranges above 16384 with a dissector of their own, TCP or UDP: `tshark -G decodes` of Wireshark 4.0, tables
 * tcp.port and udp.port; and 34963, 34964, 55555, which IANA and habit give to services too. */
static const struct {
    uint16_t first, last;
} taken[] = {{17220, 17220}, {17500, 17500}, {17754, 17756}, {18246, 18246}, {19006, 19006}, {19042, 19043},
             {19132, 19132}, {19506, 19506}, {19543, 19543}, {19788, 19788}, {19948, 19948}, {19999, 20000},
             {20256, 20256}, {20561, 20561}, {21064, 21064}, {22222, 22222}, {23272, 23272}, {24576, 24577},
             {24800, 24800}, {25826, 25826}, {26000, 26000}, {27017, 27017}, {27036, 27036}, {27500, 27500},
             {27910, 27910}, {27950, 27953}, {27960, 27963}, {29418, 29418}, {30000, 30200}, {32000, 32000},
             {32512, 32512}, {34962, 34962}, {34963, 34964}, {34980, 34980}, {37008, 37008}, {41170, 41170},
             {44321, 44322}, {44818, 44818}, {45564, 45564}, {47000, 47000}, {47808, 47808}, {48049, 48049},
             {48898, 48898}, {49999, 49999}, {54328, 54328}, {55555, 55555}, {56000, 56001}, {56500, 56501},
             {57000, 57001}, {57032, 57033}, {57500, 57501}, {57532, 57533}, {59000, 59001}, {59032, 59033},
             {59500, 59501}, {59532, 59533}, {60001, 60001}};
enum { TAKEN = sizeof taken / sizeof *taken };

enum { BLOCK = 4096, LOWEST = 16384, EPHEMERAL = 32768, EPHEMERAL_BLOCKS = 7, TRIES = 64 };

bool port_is_taken(uint16_t port) {
    for (size_t i = 0; i < TAKEN; i++)
        if (port >= taken[i].first && port <= taken[i].last)
            return true;
    return false;
}

/* Linux draws from 32768 to 60999, others from 49152 on, RTP applications from 16384 on. A block below becomes one of
 * the seven from 32768 on. */
uint16_t port_draw(rng *r, uint16_t chosen, uint16_t service) {
    unsigned block = chosen / BLOCK * BLOCK;
    if (block < LOWEST)
        block = EPHEMERAL + chosen / BLOCK % EPHEMERAL_BLOCKS * BLOCK;
    for (unsigned tries = 0; tries < TRIES; tries++) {
        uint16_t port = (uint16_t)(block + rng_below(r, BLOCK));
        if (port > service && !port_is_taken(port))
            return port;
    }
    return chosen;
}

/* How many bits of the ports differ from these. */
static int distance(const flow_key *key, uint16_t first, uint16_t second) {
    return __builtin_popcount((unsigned)key->port[0] ^ first) + __builtin_popcount((unsigned)key->port[1] ^ second);
}

flow_ports ports_settle(const classes *c, size_t label, const flow_key *key, rng *r) {
    flow_ports p = {.client = key->port[0] < key->port[1]};
    uint16_t service = classes_service(c, label, key->proto, key->port[!p.client]),
             fixed = classes_client(c, label, key->proto, service);
    /* One wrong bit in two ports that are close (67 and 68) would make the client the server, so the way round counts
     * in which fewer bits are wrong; with equal ports the first sender is the client. */
    if (fixed > 0)
        p.client = distance(key, service, fixed) < distance(key, fixed, service);
    p.port[p.client] = fixed > 0 ? fixed : port_draw(r, key->port[p.client], service);
    p.port[!p.client] = service;
    return p;
}
