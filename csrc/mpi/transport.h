/* MPI as a transport (dist/transport.h). */
#ifndef MT_MPI_TRANSPORT_H
#define MT_MPI_TRANSPORT_H

#include "dist/transport.h"

#define MT_MPI_PROBLEM 512

/* Starts MPI, once in a process; NULL with a message in problem[MT_MPI_PROBLEM]. */
const mt_transport *mt_mpi_start(char *problem);

#endif
