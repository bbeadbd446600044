-- wrk: GETs of 10,000 keys as redis-benchmark -r names them, in a random order.
local requests, at = {}, 0
function init()
  math.randomseed(os.time())
  for i = 1, 10000 do
    requests[i] = wrk.format("GET", string.format("/api/data/key:%012d", math.random(0, 9999)))
  end
end
function request()
  at = at % 10000 + 1
  return requests[at]
end
