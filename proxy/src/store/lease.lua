-- How many tokens may a replica have of what all share? GCRA (ITU-T I.371, Annex A) for several tokens at once.
-- KEYS: the moment at which the bucket will be full again; who asked when.
-- ARGV: a token's worth and the bucket's depth in microseconds; tokens wanted; who asks; how long that counts; how much of
-- the depth is for those of its class.
-- Answers: tokens granted; microseconds until as many as wanted could be had, 0 if they were; replicas that share; tokens
-- left.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local gap, depth, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local life, own = tonumber(ARGV[5]), tonumber(ARGV[6])

-- A bucket is never more than empty, even if the clock was set back or the limit was lowered.
local cell = tonumber(redis.call('GET', KEYS[1]) or now)
cell = math.min(math.max(cell, now), now + depth)

-- A thousandth of a token makes up for what is lost in counting whole microseconds.
local room = math.max(math.floor((now + own - cell) / gap + 0.001), 0)
local granted = math.min(wanted, room)
local wait = 0
if granted > 0 then
  cell = math.floor(cell + granted * gap + 0.5)
  redis.call('SET', KEYS[1], string.format('%.0f', cell), 'PX', math.ceil((cell - now) / 1000) + 1000)
end
if granted < wanted then
  wait = math.max(math.ceil(cell + wanted * gap - own - now), 1)
end

redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now - life))
redis.call('ZADD', KEYS[2], string.format('%.0f', now), ARGV[4])
redis.call('PEXPIRE', KEYS[2], math.ceil(life / 1000))
return { granted, wait, redis.call('ZCARD', KEYS[2]), room - granted }
