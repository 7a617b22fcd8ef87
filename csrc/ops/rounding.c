#include "ops/rounding.h"

#include <math.h>

#include "ops/elementwise_op.h"

MT_FORWARD(floor, floorf(x))
MT_BACKWARD(floor, 0.0f)

MT_FORWARD(ceil, ceilf(x))
MT_BACKWARD(ceil, 0.0f)

MT_FORWARD(round, rintf(x))
MT_BACKWARD(round, 0.0f)

MT_FORWARD(sign, (float)((x > 0.0f) - (x < 0.0f)))
MT_BACKWARD(sign, 0.0f)

MT_ELEMENTWISE_OP(floor, MT_SAVES_NOTHING);
MT_ELEMENTWISE_OP(ceil, MT_SAVES_NOTHING);
MT_ELEMENTWISE_OP(round, MT_SAVES_NOTHING);
MT_ELEMENTWISE_OP(sign, MT_SAVES_NOTHING);

static mt_tensor *rounded(const mt_elementwise_op *op, mt_tensor *t) {
  return t->dtype == MT_FLOAT32 ? mt_elementwise(op, t, 0, 0) : mt_tensor_copy(t);
}

mt_tensor *mt_floor(mt_tensor *t) { return rounded(&floor_op, t); }
mt_tensor *mt_ceil(mt_tensor *t) { return rounded(&ceil_op, t); }
mt_tensor *mt_round(mt_tensor *t) { return rounded(&round_op, t); }

mt_tensor *mt_sign(mt_tensor *t) {
  if (t->dtype == MT_FLOAT32) return mt_elementwise(&sign_op, t, 0, 0);
  mt_tensor *y = mt_tensor_like(t);
  for (int64_t i = 0; y && i < y->count; i++) {
    if (y->dtype == MT_UINT8)
      mt_u8(y)[i] = mt_u8(t)[i] > 0;
    else
      mt_i32(y)[i] = (mt_i32(t)[i] > 0) - (mt_i32(t)[i] < 0);
  }
  return y;
}
