-- wrk: GETs of keys key:0 to key:9999 in a different order on every connection.
local requests, at = {}, 0
function init(args)
  math.randomseed(os.time())
  local prefix = args[1] or "/api/data/key:"
  for i = 1, 10000 do
    requests[i] = wrk.format("GET", prefix .. math.random(0, 9999))
  end
end
function request()
  at = at % 10000 + 1
  return requests[at]
end
