--- A time in words: "2:05", "1:02:05".
-- @number seconds
-- @treturn string
return function(seconds)
  local whole = math.floor(seconds + 0.5)
  local hours, minutes = whole // 3600, whole // 60 % 60
  if hours > 0 then return ("%d:%02d:%02d"):format(hours, minutes, whole % 60) end
  return ("%d:%02d"):format(minutes, whole % 60)
end
