/*
 * mint.h: `flashd token`: makes a token for a user, or with a role for an admin or a consumer.
 *
 * Thread: main.
 */
#ifndef FLASHD_MAIN_MINT_H
#define FLASHD_MAIN_MINT_H

/* argv: what follows "token": its own flags, and settings. Prints the token. Exit status: 0; 1 when it could not be
 * printed; 2 for bad arguments, with one line on stderr. */
int mint_run(int argc, char **argv);

#endif
