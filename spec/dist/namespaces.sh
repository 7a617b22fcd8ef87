#!/bin/sh
# namespaces.sh COMMAND...: runs mpirun COMMAND... over two "machines" on this one: network namespaces joined by a virtual
# link, each with a host name of its own. No ssh: what Open MPI would start there, `ip netns exec` does. Needs root.
#
# RANKS (2) are dealt half to each. RATE (1gbit) and DELAY (0.1ms, each way) shape the link, with netem; where the kernel
# has none, the rate alone is kept, and that is said.
set -eu
ranks=${RANKS:-2}
self=$(readlink -f "$0")

if [ "${1:-}" = --remote ]; then # as Open MPI calls its rsh agent: HOST COMMAND...
  shift 2
  exec ip netns exec "$MT_FAR" unshare --uts sh -c "hostname far && $*"
fi

near=mt-near-$$ far=mt-far-$$
clean_up() {
  ip netns delete "$near" 2>/dev/null || true
  ip netns delete "$far" 2>/dev/null || true
}
trap clean_up EXIT
trap 'exit 1' INT TERM
ip netns add "$near"
ip netns add "$far"
ip -netns "$near" link add mt0 type veth peer name mt0 netns "$far"
number=0
for space in "$near" "$far"; do
  number=$((number + 1))
  ip -netns "$space" address add "10.77.0.$number/24" dev mt0
  ip -netns "$space" link set mt0 up
  ip -netns "$space" link set lo up
  [ -n "${RATE:-}" ] || continue
  if tc -netns "$space" qdisc add dev mt0 root netem delay "${DELAY:-0ms}" rate "$RATE" limit 10000 2>/dev/null; then
    shaped="$RATE, ${DELAY:-0ms} each way"
  else
    tc -netns "$space" qdisc add dev mt0 root tbf rate "$RATE" burst 256kb latency 100ms
    shaped="$RATE; no delay added, since this kernel has no netem"
  fi
done
[ -z "${shaped:-}" ] || echo "namespaces.sh: link of $shaped" >&2
[ "${1:-}" != --check ] || exit 0

export MT_FAR="$far"
agent="$self --remote"
ip netns exec "$near" unshare --uts sh -c 'hostname near && exec "$@"' sh \
  mpirun -n "$ranks" --map-by node --host "10.77.0.1:$ranks,10.77.0.2:$ranks" --mca plm_rsh_agent "$agent" \
  --mca pml ob1 --mca btl tcp,self --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 \
  -x LUA_PATH -x LUA_CPATH "$@"
