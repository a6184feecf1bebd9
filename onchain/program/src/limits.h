/* What the administrator may choose. */
#ifndef HYPER_LIMITS_H
#define HYPER_LIMITS_H

#include "ledger.h"

/* Within the program's constants. Error: `BadLimits`. */
u64 limits_ok(const Limits *limits);

/* None is looser than it was. Error: `NotTightening`. */
u64 limits_tighten(const Limits *before, const Limits *after);

#endif
