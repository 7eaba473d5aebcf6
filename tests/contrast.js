// contrast of all texts with what lies behind them (WCAG 2): those below 4.5, or 3 where the text is large
() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const parsed = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map((value) => value / 255);
  };
  const over = (top, below) => [0, 1, 2].map((n) => top[n] * top[3] + below[n] * (1 - top[3]));
  const behind = (element) => {
    if (!element) return [1, 1, 1];
    const colour = parsed(getComputedStyle(element).backgroundColor);
    return colour[3] === 1 ? colour.slice(0, 3) : over(colour, behind(element.parentElement));
  };
  const light = (colour) => colour.map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  const luminance = (colour) => light(colour).reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
  const low = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility({ visibilityProperty: true }) || element.closest(":disabled")) continue;
    const style = getComputedStyle(element);
    const back = behind(element);
    const colour = over(parsed(element instanceof SVGElement ? style.fill : style.color), back);
    const [dark, bright] = [luminance(colour), luminance(back)].sort((one, other) => one - other);
    const large = parseFloat(style.fontSize) >= 24;
    if ((bright + 0.05) / (dark + 0.05) < (large ? 3 : 4.5)) low.push(element.outerHTML);
  }
  return low;
}
