/* Filling masked pixels from those around them, so that what is gone leaves no outline (ROAD: Rong et al. 2022, section
 * 4.2). */
#ifndef MT_EXPLAIN_IMPUTE_H
#define MT_EXPLAIN_IMPUTE_H

#include "core/tensor.h"

/* images: finite float32 {N,H,W,C}; keep: uint8 {N,H,W}, 0 = masked. Returns the images with every masked pixel the
 * weighted mean of its eight neighbours, masked ones among them: 1/6 for direct, 1/12 for diagonal neighbours, scaled
 * up where some lie outside the image. The linear system is solved to a residual of 1e-10 of its right side's norm. An
 * image with no pixel kept becomes 0. */
mt_tensor *mt_impute(const mt_tensor *images, const mt_tensor *keep);

#endif
