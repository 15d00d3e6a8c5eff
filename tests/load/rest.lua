-- Sends the bodies of a folder in turn, and counts answers that do not hold the code that success has.
--
-- wrk -t 1 … -s rest.lua URL -- FOLDER CONTENT_TYPE CODE once|again
--
-- "once": a body that was sent is used up; the run ends with the last one.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  bodies, sent, refused, answered = {}, 0, 0, 0
  local folder, number = args[1], 1
  local file = io.open(folder .. "/1", "rb")
  while file do
    bodies[number] = file:read("*a")
    file:close()
    number = number + 1
    file = io.open(folder .. "/" .. number, "rb")
  end
  wrk.method = "POST"
  wrk.headers["Content-Type"] = args[2]
  code = '_code":%s*' .. args[3] .. "%D"
  once = args[4] == "once"
  if once then  -- wrk has called `request` once before it sends anything: all are sent when it was called once more
    delay = function() return sent > #bodies and 60000 or 0 end
  end
end

function request()
  sent = sent + 1
  return wrk.format(nil, nil, nil, bodies[(sent - 1) % #bodies + 1])
end

function response(status, headers, body)
  answered = answered + 1
  if status ~= 200 or not body:find(code) then
    refused = refused + 1
  end
  if once and answered >= #bodies then
    wrk.thread:stop()
  end
end

function done(summary, latency, requests)
  local failed, refusals = summary.errors, 0
  for _, thread in ipairs(threads) do
    refusals = refusals + thread:get("refused")
  end
  local broken = failed.connect + failed.read + failed.write + failed.timeout
  io.write(string.format('{"count": %d, "seconds": %f, "p50": %f, "p95": %f, "p99": %f, "errors": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(95) / 1e3,
    latency:percentile(99) / 1e3, broken + refusals))
end
